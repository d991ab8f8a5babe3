"""Tables and their cells."""

import pytest

from hymenoptera.results.tables import format_duration, format_table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.23, "1.2 s"), (48.4, "48 s"), (950, "15 min 50 s"), (7500, "2 h 05 min")],
)
def test_durations_as_a_person_says_them(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_columns_are_as_wide_as_their_longest_cell_and_nothing_is_markup() -> None:
    head, line, first, second = format_table([["a", "bb"], ["ccc", "[b]"], ["", "x" * 200]]).split(
        "\n"
    )
    assert head.index("bb") == first.index("[b]") == second.index("x")
    assert set(line.strip()) == {"─"}
    assert second.endswith("x" * 200)
