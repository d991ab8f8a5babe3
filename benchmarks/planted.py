"""200 faults planted in the real pictures, and how many of them `hymenoptera check` finds.

python benchmarks/planted.py --source hymenoptera_data.zip --weights resnet18-f37072fd.pth

As many of each kind as stand in PLANTED, at random, in 397 pictures. Precision is the share of
what is reported that was planted; a label that was in doubt before anything was planted counts
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

from hymenoptera.checking import check_data_set
from hymenoptera.data.pictures import read_picture

PLANTED = {"unreadable": 40, "stray": 20, "exact": 40, "near": 60, "label": 40}

Found = set[Any]


def crop(picture: Image.Image) -> Image.Image:
    """Less 2.5 % on each side."""
    x, y = picture.width // 40, picture.height // 40
    return picture.crop((x, y, picture.width - x, picture.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to 60 %": lambda p: p.resize((p.width * 3 // 5, p.height * 3 // 5)),
    "compressed to quality 30": lambda p: p,
    "20 % brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped by 2.5 %": crop,
}


def plant(root: Path, seed: int) -> dict[str, Found]:
    """Plant all faults; what should be found, by kind."""
    draw = random.Random(seed)
    pictures = sorted(path for path in root.rglob("*.jp*g"))
    draw.shuffle(pictures)

    def take(count: int) -> list[Path]:
        return [pictures.pop() for _ in range(count)]

    def elsewhere(path: Path, name: str) -> Path:
        """A folder of the same class, in either part."""
        return root / draw.choice(("train", "val")) / path.parent.name / name

    def named(*paths: Path) -> Any:
        names = sorted(path.relative_to(root).as_posix() for path in paths)
        return names[0] if len(names) == 1 else tuple(names)

    wanted: dict[str, Found] = {kind: set() for kind in PLANTED}
    for number, path in enumerate(take(PLANTED["exact"])):
        copy = elsewhere(path, f"copy {number}.jpg")
        shutil.copy(path, copy)
        wanted["exact"].add(named(path, copy))
    for number, path in enumerate(take(PLANTED["near"])):
        change = list(CHANGES.values())[number % len(CHANGES)]
        copy = elsewhere(path, f"like {number}.jpg")
        change(read_picture(path)).save(copy, quality=30 if number % len(CHANGES) == 1 else 85)
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
        suffix = ("txt", "gif", "ini", "jpg.part")[number % 4]
        place = (
            root / draw.choice(("train/ants", "val/bees", "train", ".")) / f"s {number}.{suffix}"
        )
        place.write_text("stray")
        wanted["stray"].add(named(place))
    return wanted


def reported(found: dict[str, Any]) -> dict[str, Found]:
    """What the check says, by kind, in the words of `plant`."""
    return {
        "unreadable": {item["path"] for item in found["unreadable"]},
        "stray": set(found["stray"]),
        "exact": {tuple(sorted(item["paths"])) for item in found["exact_duplicates"]},
        "near": {tuple(sorted(item["paths"])) for item in found["near_duplicates"]},
        "label": {item["path"] for item in found["doubtful_labels"]},
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
            said = reported(check_data_set(root, arguments.weights))
            for kind, total in totals.items():
                total[0] += len(wanted[kind])
                total[1] += len(said[kind])
                total[2] += len(wanted[kind] & said[kind])
                for missed in sorted(wanted[kind] - said[kind], key=str):
                    print(f"  missed {kind}: {missed}")
                for wrong in sorted(said[kind] - wanted[kind], key=str):
                    print(f"  not planted {kind}: {wrong}")
    print("| fault | planted | found | reported | precision | recall |\n|---|---|---|---|---|---|")
    rows = [*totals.items(), ("all", [sum(t[k] for t in totals.values()) for k in range(3)])]
    for kind, (planted, said_count, both) in rows:
        print(
            f"| {kind} | {planted} | {both} | {said_count} | {both / max(1, said_count):.3f} | "
            f"{both / planted:.3f} |"
        )


if __name__ == "__main__":
    main()
