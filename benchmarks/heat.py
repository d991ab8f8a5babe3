"""Whether Grad-CAM's heat is on the insect: drawn pictures, where the insect's place is known.

    python benchmarks/heat.py [--model resnet18] [--weights FILE] [--scale 0.35]

Insects of about a third of the usual length, anywhere in the picture, so that their boxes are small
and the middle is no better a guess than the edge. The head is trained with experiment=head; other
drawn pictures are then asked for their heat. The control is each picture's heat against the place
of the insect in the next picture; "at best" is what the insect itself would have if it were as
coarse as the heat, whose places are 32 pixels wide.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from command import TRAIN_PY, must_run
from torch import Tensor
from torch.nn import functional

from hymenoptera.data.drawn import Kind, draw_scene
from hymenoptera.models.checkpoint import LoadedCheckpoint, load_checkpoint
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.preprocessing import Preprocessing

ROOT = Path(__file__).parent.parent
KINDS: tuple[Kind, ...] = ("ant", "bee")
SIZE_PX = 256
CELL_PX = 32  # of the last convolutional maps in the picture
TRAIN, VAL, ASKED = 150, 50, 50  # pictures of each kind


def draw(folder: Path, scale: float) -> None:
    """Write the pictures that the head is trained on."""
    for part, count in (("train", TRAIN), ("val", VAL)):
        for label, kind in enumerate(KINDS):
            place = folder / part / kind
            place.mkdir(parents=True)
            for index in range(count):
                rng = np.random.default_rng((len(part), label, index))
                draw_scene(kind, rng, SIZE_PX, scale)[0].save(place / f"{index:03}.png")


def train(pictures: Path, run: Path, overrides: list[str]) -> LoadedCheckpoint:
    """Train a head; ends the program where that fails."""
    command = [
        *(TRAIN_PY, "experiment=head", "data=imagefolder"),
        *(f"data.root={pictures}", f"hydra.run.dir={run}", f"transfer.cache_folder={run}/features"),
        *("report=false", "logger=csv", *overrides),
    ]
    must_run(command, run.parent)
    return load_checkpoint(run / "checkpoints" / "best.ckpt")


def ask(preprocessing: Preprocessing, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 3, S, S), labels (N,), and masks (N, S, S) of where the insect is, 0 to 1."""
    plain = replace(preprocessing, mean=(0, 0, 0), std=(1, 1, 1)).transform()
    images, labels, masks = [], [], []
    for index in range(ASKED):
        for label, kind in enumerate(KINDS):
            rng = np.random.default_rng((9, label, index))
            picture, mask = draw_scene(kind, rng, SIZE_PX, scale)
            seen = plain(mask.convert("RGB"))[0]
            if seen.max() > 0.5:  # not cut away
                images.append(preprocessing.transform()(picture))
                labels.append(label)
                masks.append(seen)
    return torch.stack(images), torch.tensor(labels), torch.stack(masks)


def boxes(masks: Tensor) -> Tensor:
    """(N, S, S) of 0 and 1: the box around each mask."""
    seen = masks > 0
    return (seen.any(dim=2, keepdim=True) & seen.any(dim=1, keepdim=True)).float()


def share_within(heat: Tensor, places: Tensor) -> float:
    """Mean over the pictures of the share of the heat that lies within a place."""
    return float(((heat * places).sum(dim=(1, 2)) / heat.sum(dim=(1, 2))).mean())


def coarse(masks: Tensor) -> Tensor:
    """(N, S, S): the insect itself as heat, as blurred as maps of CELL_PX make it."""
    cells = functional.avg_pool2d(masks[:, None], CELL_PX)
    size_px = masks.shape[-1]
    return functional.interpolate(cells, (size_px, size_px), mode="bilinear")[:, 0]


def main() -> None:
    """Draw, train, ask, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--weights", help="a state dict; what HYMENOPTERA_WEIGHTS names by default")
    parser.add_argument("--scale", type=float, default=0.35)
    options = parser.parse_args()
    overrides = [f"model={options.model}"]
    overrides += [f"model.weights={Path(options.weights).resolve()}"] if options.weights else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "pictures", options.scale)
        checkpoint = train(folder / "pictures", folder / "run", overrides)
    images, labels, masks = ask(checkpoint.preprocessing, options.scale)
    with torch.no_grad():
        right = checkpoint.classifier(images).argmax(dim=1) == labels
    heat = GradCam(checkpoint.classifier)(images)
    hot = heat.amax(dim=(1, 2)) > 0
    heat, box, mask = heat[hot], boxes(masks)[hot], masks[hot]
    peak = heat.flatten(1).argmax(dim=1)
    found = {
        "model": options.model,
        "scale": options.scale,
        "pictures": len(images),
        "without_heat": int((~hot).sum()),
        "accuracy": float(right.float().mean()),
        "share_in_box": share_within(heat, box),
        "share_in_box_at_best": share_within(coarse(mask), box),
        "share_in_another_box": share_within(heat, box.roll(1, 0)),
        "area_of_box": float(box.mean()),
        "share_on_insect": share_within(heat, mask),
        "area_of_insect": float(mask.mean()),
        "hottest_in_box": float(box.flatten(1).gather(1, peak[:, None]).mean()),
    }
    for key, value in found.items():
        shown = f"{value:.3f}" if isinstance(value, float) else value
        print(f"{key.replace('_', ' '):<22} {shown}")
    record = ROOT / "benchmarks" / "heat.json"
    record.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
