"""What a figure on a few pictures is worth."""

import math


def wilson_interval(
    successes: int, count: int, z: float = 1.959963984540054
) -> tuple[float, float]:
    """Interval for a proportion that holds its level on small samples and near 0 and 1.

    Args:
        successes: how many were right.
        count: of how many, at least 1.
        z: quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper end, on the scale 0 to 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share = successes / count
    spread = z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)
