"""Whether pictures are kept decoded, and where they are augmented: decides, and tells the data."""

from typing import Any, Literal

from hymenoptera.data import decoded, room
from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.feed import Feed, FeedOptions
from hymenoptera.device import Device
from hymenoptera.errors import RequestError
from hymenoptera.preprocessing import Preprocessing

DEFAULT_SIZE = 12 / 7  # of the network's input: 384 px for 224
TYPICAL_ASPECT = 4 / 3
SHARE = 0.5  # of the free memory, a host's or a device's, that auto takes at the most


def feed_decoded(
    data: PictureDataModule,
    preprocessing: Preprocessing,
    device: Device,
    manifest_hash: str,
    processes: int = 1,
    local_rank: int = 0,
) -> dict[str, Any]:
    """Have the data keep decoded pictures, where the config or the device says so.

    Args:
        data: set up, and told about preprocessing and views.
        preprocessing: of the weights.
        device: that the run uses.
        manifest_hash: of the pictures.
        processes: of the run on this machine, among which its memory is divided.
        local_rank: of this one among them.

    Returns:
        What the record says of it; see `records.write_summary`.

    Raises:
        RequestError: there is no room for the pictures, or they would be smaller than the input.
    """
    options = data.feed_options
    processes *= room.jobs_at_once()
    crop = data.random_crop()
    size_px = round(DEFAULT_SIZE * preprocessing.crop_px)
    if options.size_px != "auto":
        size_px = options.size_px
    cache = options.cache
    if cache == "auto":
        cache = _auto_cache(data, size_px, device, processes)
    augment_on = _augment_on(options, cache, device)
    facts: dict[str, Any] = {"cache": cache, "augment_on": augment_on}
    if cache == "none":
        return facts
    if crop is not None and size_px < preprocessing.crop_px:
        raise RequestError(
            f"data.cache_size={size_px} is less than the {preprocessing.crop_px} px that the "
            f"network sees: every crop would be enlarged. Take {preprocessing.crop_px} or more, "
            f"{round(DEFAULT_SIZE * preprocessing.crop_px)} for one."
        )
    train, val = _plans(data, preprocessing, size_px if crop else None, cache, manifest_hash)
    facts["size_px"] = size_px if crop else None
    facts["size_bytes"] = train.size_bytes + val.size_bytes
    if cache == "ram":
        _refuse_too_large(len(train.paths) + len(val.paths), facts, processes)
        kept = [(decoded.in_memory(plan), True) for plan in (train, val)]
    else:
        root = data.index.root
        kept = [decoded.on_disk(plan, options.folder, manifest_hash, root) for plan in (train, val)]
    travels = augment_on == "device" and train.size_bytes > SHARE * device.free_bytes(local_rank)
    feed = Feed(
        kept[0][0], kept[1][0], preprocessing, augment_on, crop, data.flip_probability, travels
    )
    data.use_decoded(feed)
    counts = {True: 0, False: 0}
    for found, made in kept:
        counts[made] += len(found.sizes)
    facts |= {"decoded": counts[True], "kept": counts[False], "on_device": feed.is_on_device}
    return facts


def _plans(
    data: PictureDataModule,
    preprocessing: Preprocessing,
    size_px: int | None,
    cache: str,
    manifest_hash: str,
) -> tuple[decoded.Plan, decoded.Plan]:
    """Of the training pictures, framed where there is no size, and of those for validation."""
    train, val = ([s.path for s in part] for part in (data.index.train, data.index.val))
    framed = decoded.plan_framed(val, preprocessing)
    if size_px is None:
        return decoded.plan_framed(train, preprocessing), framed
    if cache == "ram":
        sizes = decoded.file_sizes(train)
    else:
        folder, root = data.feed_options.folder, data.index.root
        sizes = decoded.file_sizes_on_disk(train, folder, manifest_hash, root)
    return decoded.plan_whole(train, size_px, sizes), framed


def _refuse_too_large(count: int, facts: dict[str, Any], processes: int) -> None:
    free_bytes = room.free_memory_bytes() // processes
    if facts["size_bytes"] > free_bytes:
        at = f" at data.cache_size={facts['size_px']}" if facts["size_px"] else ""
        raise RequestError(
            f"data.cache=ram: {count} decoded pictures take {room.in_units(facts['size_bytes'])}"
            f"{at}, and {room.in_units(free_bytes)} of memory are free. "
            f"Take data.cache=disk, or a smaller data.cache_size."
        )


def _auto_cache(
    data: PictureDataModule, size_px: int, device: Device, processes: int
) -> Literal["none", "ram"]:
    """A CPU's network is slower than the decoding; a GPU waits for it, and memory may be short."""
    if data.feed_options.augment_on == "device":
        return "ram"  # it needs decoded pictures
    count = len(data.index.train) + len(data.index.val)
    size_bytes = 3 * TYPICAL_ASPECT * size_px**2 * count  # without a look into each file
    fits = size_bytes < SHARE * room.free_memory_bytes() / processes
    return "none" if device.accelerator == "cpu" or not fits else "ram"


def _augment_on(options: FeedOptions, cache: str, device: Device) -> Literal["cpu", "device"]:
    if options.augment_on != "auto":
        return options.augment_on
    return "device" if cache != "none" and device.accelerator == "cuda" else "cpu"
