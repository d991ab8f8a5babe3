"""What a frozen forward pass costs: python benchmarks/inference.py [NETWORK] [WEIGHTS].

Images a second, and how far the features are from the eager network's; the best of ten rounds, in
which the ways take turns.
"""

import argparse
import copy
import time

import torch

from hymenoptera.models.backbones import build_backbone
from hymenoptera.models.inference import InferenceNetwork

BATCH, ROUNDS = 32, 10


def main() -> None:
    """Print a row of a Markdown table for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", default="resnet18")
    parser.add_argument("weights", nargs="?", default="none", help="imagenet, none or a file")
    options = parser.parse_args()
    built = build_backbone(options.network, options.weights)
    network = built.network.eval()
    last = torch.channels_last
    ways = {
        "eager": network,
        "channels last": copy.deepcopy(network).to(memory_format=last),
        "folded, channels last": InferenceNetwork(network),
        "folded, channels last, bf16": InferenceNetwork(network, bf16=True),
    }
    side = built.preprocessing.crop_px
    images = torch.randn(BATCH, 3, side, side)
    best, found = dict.fromkeys(ways, float("inf")), {}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for way, one in ways.items():
                given = images if way == "eager" else images.contiguous(memory_format=last)
                began = time.perf_counter()
                found[way] = one(given)
                best[way] = min(best[way], time.perf_counter() - began)
    print("| | images/s | times | relative error |\n|---|---|---|---|")
    for way, features in found.items():
        error = (features - found["eager"]).norm() / found["eager"].norm()
        speed, times = BATCH / best[way], best["eager"] / best[way]
        print(f"| {way} | {speed:.1f} | {times:.2f} | {float(error):.1e} |")


if __name__ == "__main__":
    main()
