"""fastai's way: `vision_learner(dls, resnet18).fine_tune(5)`, as its documentation recommends.

What is fastai's own default here: the head with its concatenated pooling, one epoch of it alone,
then all of it at discriminative rates on a one-cycle schedule, base_lr 2e-3, AdamW, batch norm
trained throughout, the reading processes' number. What was chosen: presizing (Resize(460), then
aug_transforms(size=224, min_scale=0.75)), as its book teaches; batches of 32, because with its
default of 64 an epoch has 3 steps; 5 epochs passed 0.94 with some room.
"""

import os
import tempfile
import time
from pathlib import Path

from reporting import Reporter, StepClock, parse_options


def offer_weights(weights: str) -> None:
    """Put a file of weights where torchvision looks for the official ones."""
    from torchvision.models import ResNet18_Weights

    home = Path(tempfile.mkdtemp(prefix="torch_home_"))
    checkpoints = home / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    (checkpoints / name).symlink_to(Path(weights).resolve())
    os.environ["TORCH_HOME"] = str(home)


def main() -> None:
    """Train, or time some steps."""
    options = parse_options(__doc__, epochs=5, batch_size=32, workers=-1)
    if options.weights != "none":
        offer_weights(options.weights)
    from fastai.vision.all import (
        Callback,
        CancelFitException,
        CategoryBlock,
        DataBlock,
        GrandparentSplitter,
        ImageBlock,
        Recorder,
        Resize,
        accuracy,
        aug_transforms,
        get_image_files,
        parent_label,
        resnet18,
        set_seed,
        vision_learner,
    )

    def images(folder: Path) -> list[Path]:
        found = sorted(p for p in get_image_files(folder) if p.suffix != ".gif")
        limits = {"train": options.limit_train, "val": options.limit_val}
        step = {
            part: max(1, sum(p.parent.parent.name == part for p in found) // limit) if limit else 1
            for part, limit in limits.items()
        }
        parts = {part: [p for p in found if p.parent.parent.name == part] for part in limits}
        return [p for part, paths in parts.items() for p in paths[:: step[part]]]

    set_seed(options.seed)
    workers = {} if options.workers < 0 else {"num_workers": options.workers}
    loaders = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=images,
        splitter=GrandparentSplitter(train_name="train", valid_name="val"),
        get_y=parent_label,
        item_tfms=Resize(460),
        batch_tfms=aug_transforms(size=224, min_scale=0.75),
    ).dataloaders(options.data, bs=options.batch_size, **workers)

    class Report(Callback):
        """Stores and prints an epoch after the Recorder has its figures."""

        order = Recorder.order + 10

        def __init__(self) -> None:
            self.reporter = Reporter(options.out)
            self.epochs = 0

        def before_epoch(self) -> None:
            self.began = time.perf_counter()

        def after_train(self) -> None:
            self.train_s = time.perf_counter() - self.began

        def after_epoch(self) -> None:
            self.epochs += 1
            train_loss, _, share = self.learn.recorder.values[-1]
            self.reporter.epoch(
                self.epochs,
                float(share),
                self.learn.model.state_dict(),
                train_loss=float(train_loss),
                train_s=self.train_s,
                val_s=time.perf_counter() - self.began - self.train_s,
            )

    class Clock(Callback):
        """Times steps of training, and ends it when there have been enough."""

        def __init__(self) -> None:
            self.clock = StepClock(options.throughput, options.batch_size)

        def after_batch(self) -> None:
            if self.training and self.clock.tick(self.epoch):
                raise CancelFitException

    learner = vision_learner(
        loaders, resnet18, metrics=accuracy, pretrained=options.weights != "none", path=options.out
    )
    with learner.no_bar(), learner.no_logging():
        if options.throughput:
            clock = Clock()
            learner.unfreeze()
            learner.fit_one_cycle(1000, cbs=clock)
            clock.clock.report()
        else:
            learner.fine_tune(options.epochs, cbs=Report())


if __name__ == "__main__":
    main()
