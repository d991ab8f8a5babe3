"""A download's part on disk: what has come so far, and which file it is a part of.

The part lies beside the target as `NAME.part`, and what is known of the whole (address, version,
size) beside that as `NAME.part.json`, so that a later call can go on from there.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from hymenoptera.atomic import write_file


@dataclass(frozen=True)
class Whole:
    """What a server said of a file: enough to know whether a part still belongs to it.

    Attributes:
        url: where it is.
        version: its strong ETag or its Last-Modified date; None where the server gives neither.
        size_bytes: its size; None where the server does not say.
    """

    url: str
    version: str | None = None
    size_bytes: int | None = None


class Part:
    """The part of a file received so far, and what is known of the whole.

    Attributes:
        path: the part.
        notes: the file with what is known of the whole.
        name: the target's name, to show.
        whole: what is known of the whole.
    """

    def __init__(self, url: str, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.notes = target.with_name(target.name + ".part.json")
        self.name = target.name
        self.whole = Whole(url)
        try:
            noted = Whole(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            noted = None
        if noted and noted.url == url and (noted.version or noted.size_bytes):
            self.whole = noted
        else:  # of another file, or of a version that nobody can tell any more
            self.drop()

    @property
    def size_bytes(self) -> int:
        """How much has come so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come, where the server said how much that is."""
        return self.whole.size_bytes is not None and self.size_bytes == self.whole.size_bytes

    def begin(self, whole: Whole, offset: int) -> None:
        """Make ready to append from an offset: the part's end, or 0 for a fresh start."""
        if not offset:
            self.path.write_bytes(b"")  # before the notes change, lest old bytes pass for new
        if whole != self.whole or not self.notes.exists():
            write_file(self.notes, json.dumps(asdict(whole)))
        self.whole = whole

    def drop(self) -> None:
        """Forget what has come: the next request starts afresh."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.whole = Whole(self.whole.url)

    def drop_if_empty(self) -> None:
        """Leave nothing behind where nothing has come."""
        if not self.size_bytes:
            self.drop()

    def finish(self, target: Path) -> None:
        """Rename the part, now whole, to its final place."""
        self.path.replace(target)
        self.notes.unlink(missing_ok=True)
