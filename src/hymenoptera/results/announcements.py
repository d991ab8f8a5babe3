"""What the console says of a run before its first epoch and after its last, from its record."""

from pathlib import Path
from typing import Any

from hymenoptera.data.room import in_units
from hymenoptera.results.tables import format_duration, format_interval, format_path


def beginning(
    record: dict[str, Any], folder: Path, going_on_after: int | None = None, batches: int = 0
) -> str:
    """Pictures, model, device and run folder, a line or two each.

    Args:
        record: as `records.write_summary` describes it.
        folder: the run's.
        going_on_after: the epoch that a resumed run goes on after, from 1.
        batches: how many of the next one are done.
    """
    data, model, device = record["data"], record["model"], record["device"]
    index = data.get("index")
    left_out = "".join(
        f"; {count} {what}"
        for what, count in (
            ("unreadable skipped", len(data["skipped_pictures"])),
            (
                "of another type ignored",
                index["ignored"] if index else len(data["ignored_files"]),
            ),
        )
        if count
    )
    fold, folds = data["apart"]["fold"], data["apart"]["folds"]
    apart = f" (fold {fold} of 0 to {folds - 1})" if folds else ""
    apart += f", {data['test_count']} kept apart to test" if data["test_count"] else ""
    threads = f" ({device['cpu_threads']} threads)" if device["accelerator"] == "cpu" else ""
    feed = record["feed"]
    work = "read pictures" if feed is None else "read and augment pictures"
    if feed is not None and feed["cache"] != "none":
        work = "fetch decoded pictures"
    readers = f"{device['num_workers']} processes {work}"
    resumed = f", going on after epoch {going_on_after}" if going_on_after else ""
    if batches:
        resumed = f", going on in epoch {(going_on_after or 0) + 1}, after batch {batches}"
    return "\n".join(
        [
            f"pictures   {data['train_count']} to train on, {data['val_count']} to validate{apart},"
            f" in {len(data['classes'])} classes ({_few(data['classes'])}){left_out}",
            f"           {format_path(Path(data['root']))}",
            *_index(index),
            f"model      {model['name']}, weights {model['weights']}, "
            f"{'new' if model['head_is_new'] else 'their own'} head",
            f"           {model['parameter_count'] / 1e6:.1f} M parameters; {model['input_px']} px",
            *_trained(model["trained"]),
            *_features(record["features"]),
            *_feed(feed),
            f"device     {device['name']}{threads}, precision {device['precision']}"
            f"{', channels last' if device['channels_last'] else ''}; {readers}",
            *_processes(device),
            f"run folder {format_path(folder)}{resumed}",
        ]
    )


def ending(record: dict[str, Any], folder: Path, has_curves: bool) -> str:
    """The result with its interval, the time, where things are."""
    lines = []
    best = record["best"]
    if best is not None:
        lines += [
            f"best       {100 * best['val_accuracy']:.1f} % of the validation pictures right "
            f"({best['correct']} of {best['count']}), in epoch {best['epoch']}",
            f"           95 % Wilson interval {format_interval(best['interval'])}",
            f"time       {format_duration(record['durations']['total_s'])}, "
            f"training {record['images_per_s']:.1f} pictures a second",
            f"checkpoint {format_path(folder / best['checkpoint'])}",
        ]
    if (folder / "report.html").is_file():
        lines.append(f"report     {format_path(folder / 'report.html')}")
    if has_curves:
        lines.append(f"curves     tensorboard --logdir {format_path(folder.parent)}")
    return "\n".join(lines)


def interruption(folder: Path) -> str:
    """How to go on with a run that was interrupted."""
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return f"Interrupted. Go on with: python train.py resume={format_path(folder)}"
    return "Interrupted before its first checkpoint: there is nothing to go on from."


def _trained(groups: list[dict[str, Any]]) -> list[str]:
    """What is trained, at which rate, from when: a line a group."""
    starts = (f" from epoch {g['first_epoch']}" if g["first_epoch"] > 1 else "" for g in groups)
    lines = [
        f"{group['name']}, {_count(group['parameter_count'])} parameters, "
        f"learning rate {group['lr']:.3g}{start}"
        for group, start in zip(groups, starts, strict=True)
    ]
    return [f"{'' if position else 'trained':<11}{line}" for position, line in enumerate(lines)]


def _processes(device: dict[str, Any]) -> list[str]:
    """How many there are, what a step has of all of them, and at which rate."""
    count, nodes = device.get("processes", 1), device.get("num_nodes", 1)
    if count == 1:
        return []
    where = f" on {nodes} machines" if nodes > 1 else ""
    scaled = "" if device["lr_scale"] > 1 else "not "
    return [
        f"processes  {count}{where} ({device['strategy']}): {device['batch_size']} pictures a "
        f"step, {device['batch_size'] // count} each; the rate is {scaled}multiplied by {count}"
    ]


def _index(index: dict[str, Any] | None) -> list[str]:
    """How the index of a large folder was had, and what stands for its files."""
    if index is None:
        return []
    stands_for = "SHA-256" if index["contents"] else "sizes and times, not contents"
    how = f"{index['read']} files read" if index["read"] else "kept, compared with the folder"
    return [f"index      {how} in {index['seconds']:.1f} s; identified by {stands_for}"]


def _features(features: dict[str, int] | None) -> list[str]:
    """How much of the frozen part's work was done before."""
    if features is None:
        return []
    computed, kept = features["computed"], features["kept"]
    return [f"features   {computed} computed, {kept} from the cache: what is frozen runs once"]


def _feed(feed: dict[str, Any] | None) -> list[str]:
    """Where decoded pictures are, how large, and where they are cropped."""
    if feed is None or feed["cache"] == "none":
        return []
    where = "in memory" if feed["cache"] == "ram" else f"on disk ({feed['kept']} were there)"
    size = f", {feed['size_px']} px at the shorter side" if feed["size_px"] else ""
    device = "the device, which holds them" if feed["on_device"] else "the device"
    return [
        f"decoded    {feed['decoded'] + feed['kept']} pictures {where}, "
        f"{in_units(feed['size_bytes'])}{size}; augmented on "
        f"{device if feed['augment_on'] == 'device' else 'the CPU'}"
    ]


def _count(parameters: int) -> str:
    unit, name = (1e6, "M") if parameters >= 1e6 else (1e3, "k")
    return f"{parameters / unit:.1f} {name}"


def _few(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
