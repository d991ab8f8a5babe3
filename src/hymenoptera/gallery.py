"""A page of predictions, a picture each, written as they come."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from hymenoptera.atomic import new_file
from hymenoptera.models.checkpoint import LoadedCheckpoint
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.predictor import Batch
from hymenoptera.preprocessing import as_pictures
from hymenoptera.results.page import begin_page, end_page, escape, figure, image
from hymenoptera.results.pictures import data_uri, overlay, side_by_side

SIDE_PX = 224  # of a picture in the page


class Gallery:
    """A page that is there when the `with` block has ended well.

    Args:
        path: where it is written.
        checkpoint: of which the predictions are.
        heat: drawn beside each picture, if any.
    """

    def __init__(self, path: Path, checkpoint: LoadedCheckpoint, heat: GradCam | None) -> None:
        self._path = path
        self._checkpoint = checkpoint
        self._heat = heat

    def __enter__(self) -> "Gallery":
        self._stack = ExitStack()
        self._file = self._stack.enter_context(new_file(self._path))
        heading = f"Predictions of a {self._checkpoint.facts['backbone']}"
        seen = "The pictures are shown as the network sees them, cropped to a square"
        heat = "; red is where the answer comes from (Grad-CAM)" if self._heat else ""
        self._put(begin_page(heading))
        self._put(f"<h1>{escape(heading)}</h1>\n<p class='soft'>{seen}{heat}.</p>\n")
        self._put('<div class="tiles">\n')
        return self

    def __exit__(self, *failure: object) -> bool:
        self._put("</div>\n" + end_page())
        return bool(self._stack.__exit__(*failure))  # type: ignore[arg-type]

    def add(self, batch: Batch) -> None:
        """Write the batch's pictures."""
        for tile in self._tiles(batch):
            self._put(tile)

    def _tiles(self, batch: Batch) -> Iterator[str]:
        shown = iter(as_pictures(self._checkpoint.preprocessing.denormalise(batch.images)))
        heats = iter(self._heat(batch.images) if self._heat and len(batch.images) else ())
        for prediction in batch.predictions:
            short = "/".join(Path(prediction.name).parts[-2:])
            name = f"<span title='{escape(prediction.name)}'>{escape(short)}</span>"
            if prediction.error is not None:
                reason = f"<b class='bad'>unreadable</b> {escape(prediction.error)}"
                yield figure("", f"{reason}<br>{name}") + "\n"
                continue
            picture = next(shown)
            if self._heat:
                picture = side_by_side(picture, overlay(picture, next(heats).numpy()))
            picture.thumbnail((SIDE_PX * 2, SIDE_PX))
            first, *others = (
                f"{escape(label)} {100 * share:.1f} %"
                for label, share in list(prediction.probabilities.items())[:2]
            )
            caption = " ".join([f"<b>{first}</b>", *others])
            yield figure(image(data_uri(picture), prediction.label), f"{caption}<br>{name}") + "\n"

    def _put(self, text: str) -> None:
        self._file.write(text.encode(errors="backslashreplace"))
