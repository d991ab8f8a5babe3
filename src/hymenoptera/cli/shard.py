"""`hymenoptera shard DIR OUT`: a folder of pictures as shards, for data=stream."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hymenoptera.cli.application import answer, app, examples
from hymenoptera.errors import RequestError


@app.command(
    short_help="Put a folder of pictures into shards.",
    epilog=examples(
        "hymenoptera shard ~/pictures ~/shards",
        "hymenoptera shard ~/pictures ~/shards --shard-mb 256 --on-error skip",
    ),
)
def shard(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Class folders, or train/ and val/ of them."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of shards to make.")],
    shard_mb: Annotated[float, typer.Option(min=0.001, help="At which size a shard is full.")] = 64,
    on_error: Annotated[
        Literal["fail", "skip"], typer.Option(help="At a picture that cannot be read.")
    ] = "fail",
) -> None:
    """Put a folder of pictures into shards: tar files as WebDataset has them, and their index.

    Each part's pictures are put in a random order once. The files go in as they are, with path and
    label beside each. python train.py data=stream data.root=OUT trains on them.
    """
    folder, out = folder.expanduser(), out.expanduser()
    if not out.parent.is_dir():
        raise RequestError(f"{out}: there is no folder {out.parent} to make it in.")
    from hymenoptera.data.sharding import make_shards

    made = make_shards(folder, out, int(shard_mb * 1e6), skip=on_error == "skip")
    size_mb = sum(one["bytes"] for one in made["shards"]) / 1e6
    counts = ", ".join(f"{n} of {part}" for part, n in made["pictures"].items() if part != ".")
    left_out = f"; {len(made['skipped'])} unreadable left out" if made["skipped"] else ""
    answer(
        f"{out}: {sum(made['pictures'].values())} pictures{f' ({counts})' if counts else ''} in "
        f"{len(made['classes'])} classes, {len(made['shards'])} shards, {size_mb:.1f} MB"
        f"{left_out}\n"
        f"python train.py data=stream data.root={out}"
    )
