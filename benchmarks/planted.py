"""200 faults planted in the real images, and how many of them `hymenoptera check` finds.

python benchmarks/planted.py --source hymenoptera_data.zip --weights resnet18-f37072fd.pth

As many of each kind as stand in PLANTED, at random, in 397 images. Precision is the share of
what is reported that was planted; a label that was suspected before anything was planted counts
against it.
"""

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

from hymenoptera.cli.checking import check_data_set
from hymenoptera.data.images import read_image

PLANTED = {"unreadable": 40, "stray": 20, "exact": 40, "near": 60, "label": 40}

Names = set[Any]


def crop(image: Image.Image) -> Image.Image:
    """Less 2.5 % on each side."""
    x, y = image.width // 40, image.height // 40
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to 60 %": lambda p: p.resize((p.width * 3 // 5, p.height * 3 // 5)),
    "compressed to quality 30": lambda p: p,
    "20 % brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped by 2.5 %": crop,
}


def plant(root: Path, seed: int) -> dict[str, Names]:
    """Plant all faults; return what should be found, by kind."""
    draw = random.Random(seed)
    images = sorted(path for path in root.rglob("*.jp*g"))
    draw.shuffle(images)

    def take(count: int) -> list[Path]:
        return [images.pop() for _ in range(count)]

    def elsewhere(path: Path, name: str) -> Path:
        """A folder of the same class, in either part."""
        return root / draw.choice(("train", "val")) / path.parent.name / name

    def named(*paths: Path) -> Any:
        names = sorted(path.relative_to(root).as_posix() for path in paths)
        return names[0] if len(names) == 1 else tuple(names)

    wanted: dict[str, Names] = {kind: set() for kind in PLANTED}
    for number, path in enumerate(take(PLANTED["exact"])):
        copy = elsewhere(path, f"copy {number}.jpg")
        shutil.copy(path, copy)
        wanted["exact"].add(named(path, copy))
    for number, path in enumerate(take(PLANTED["near"])):
        change = list(CHANGES.values())[number % len(CHANGES)]
        copy = elsewhere(path, f"like {number}.jpg")
        change(read_image(path)).save(copy, quality=30 if number % len(CHANGES) == 1 else 85)
        wanted["near"].add(named(path, copy))
    for path in take(PLANTED["label"]):
        other = "bees" if path.parent.name == "ants" else "ants"
        moved = path.rename(path.parent.parent / other / f"moved {path.name}")
        wanted["label"].add(named(moved))
    for number, path in enumerate(take(PLANTED["unreadable"])):
        broken = path.with_name(f"broken {number}.jpg")
        whole = path.read_bytes()
        broken.write_bytes([whole[: len(whole) // 2], b"", b"text", whole[100:]][number % 4])
        wanted["unreadable"].add(named(broken))
    for number in range(PLANTED["stray"]):
        suffix = ("txt", "csv", "ini", "jpg.part")[number % 4]
        place = (
            root / draw.choice(("train/ants", "val/bees", "train", ".")) / f"s {number}.{suffix}"
        )
        place.write_text("stray")
        wanted["stray"].add(named(place))
    return wanted


def reported(result: dict[str, Any]) -> dict[str, Names]:
    """What the check reports, by kind, named as `plant` names it."""
    return {
        "unreadable": {item["path"] for item in result["unreadable"]},
        "stray": set(result["stray"]),
        "exact": {tuple(sorted(item["paths"])) for item in result["exact_duplicates"]},
        "near": {tuple(sorted(item["paths"])) for item in result["near_duplicates"]},
        "label": {item["path"] for item in result["suspected_labels"] or ()},
    }


def main() -> None:
    """Plant, check, and print precision and recall of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="the archive")
    parser.add_argument("--weights", required=True, help="a ResNet-18's state dict")
    parser.add_argument("--seeds", type=int, default=1, help="how often, each with another seed")
    arguments = parser.parse_args()
    totals = {kind: [0, 0, 0] for kind in PLANTED}  # planted, reported, both
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            shutil.unpack_archive(arguments.source, folder)
            root = Path(folder) / "hymenoptera_data"
            (root / "train/ants/imageNotFound.gif").unlink()
            wanted = plant(root, seed)
            found = reported(check_data_set(root, arguments.weights))
            for kind, total in totals.items():
                total[0] += len(wanted[kind])
                total[1] += len(found[kind])
                total[2] += len(wanted[kind] & found[kind])
                for missed in sorted(wanted[kind] - found[kind], key=str):
                    print(f"  missed {kind}: {missed}")
                for wrong in sorted(found[kind] - wanted[kind], key=str):
                    print(f"  not planted {kind}: {wrong}")
    print("| fault | planted | found | reported | precision | recall |\n|---|---|---|---|---|---|")
    rows = [*totals.items(), ("all", [sum(t[k] for t in totals.values()) for k in range(3)])]
    for kind, (planted, total_reported, both) in rows:
        print(
            f"| {kind} | {planted} | {both} | {total_reported} | "
            f"{both / max(1, total_reported):.3f} | {both / planted:.3f} |"
        )


if __name__ == "__main__":
    main()
