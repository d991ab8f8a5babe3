"""What lies in a data set's folder, file by file: nothing is refused, all of it is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hymenoptera.data.folders import VALIDATION_NAMES, Sample, find_samples, subfolders
from hymenoptera.data.likeness import small_grey
from hymenoptera.data.pictures import UNREADABLE, open_picture, upright_rgb, why_unreadable
from hymenoptera.data.threads import in_threads, with_bar
from hymenoptera.digests import file_sha256
from hymenoptera.errors import RequestError


@dataclass(frozen=True)
class Look:
    """What there is to say of a picture's file.

    Attributes:
        path: below the data set's folder, with slashes.
        part: "train", the name of the validation folder, or "all".
        label: index into the classes.
        sha256: of the file; empty where it cannot be read at all.
        fault: why it cannot be read as a picture; empty where it can.
        size: width and height in pixels, as stored.
        mode: Pillow's word for the kind of pixels, "RGB" for one.
        form: what the file holds, "JPEG" for one, whatever its name.
        grey: its small grey version; None where it cannot be read.
    """

    path: str
    part: str
    label: int
    sha256: str
    fault: str
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    form: str = ""
    grey: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Inspection:
    """What lies in a data set's folder.

    Attributes:
        root: the folder.
        parts: their names; one, "all", where the folder is not divided.
        classes: all names that any part has, sorted.
        looks: one a picture, part by part, sorted by class and path.
        stray: files that are no pictures of a class, by their paths below the folder.
    """

    root: Path
    parts: list[str]
    classes: list[str]
    looks: list[Look]
    stray: list[str]


def inspect(root: Path) -> Inspection:
    """Look at every file below a folder of class folders, or of parts that have them.

    Raises:
        RequestError: there is no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise RequestError(f"{root}: there is no such folder.")
    names = [name for name in ("train", *VALIDATION_NAMES) if (root / name).is_dir()]
    folders = {name: root / name for name in names} if "train" in names else {"all": root}
    classes = sorted({name for folder in folders.values() for name in subfolders(folder)})
    samples: list[tuple[str, Sample]] = []
    known: set[Path] = set()
    for part, folder in folders.items():
        found, _ = find_samples(folder, classes)
        samples += [(part, sample) for sample in found]
        known |= {sample.path for sample in found}
    if not samples:
        raise RequestError(
            f"{root} holds no pictures in class folders, or in class folders below train/."
        )
    stray = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path not in known and not (path.is_dir() and not path.is_symlink())
    )
    return Inspection(root, list(folders), classes, _look_at_all(root, samples), stray)


def _look_at_all(root: Path, samples: Sequence[tuple[str, Sample]]) -> list[Look]:
    looks = in_threads(lambda item: _look(root, *item), samples)
    return list(with_bar(looks, len(samples), "looking at pictures"))


def _look(root: Path, part: str, sample: Sample) -> Look:
    path = sample.path.relative_to(root).as_posix()
    sha256 = ""
    try:
        sha256 = file_sha256(sample.path)
        with open_picture(sample.path) as picture:
            size, mode, form = picture.size, picture.mode, str(picture.format)
            picture.draft("RGB", (128, 128))  # JPEG: reads all the bytes, does less arithmetic
            grey = small_grey(upright_rgb(picture))
    except UNREADABLE as error:
        return Look(path, part, sample.label, sha256, why_unreadable(error, sample.path))
    return Look(path, part, sample.label, sha256, "", size, mode, form, grey)
