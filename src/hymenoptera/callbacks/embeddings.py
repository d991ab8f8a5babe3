"""The validation pictures in TensorBoard's projector."""

import numpy as np
from tensorboard.plugins import projector

from hymenoptera.atomic import write_file
from hymenoptera.callbacks.judgement import AfterJudging, Judged
from hymenoptera.results.pictures import sprite, thumbnails


class Embeddings(AfterJudging):
    """The validation pictures in TensorBoard's projector, by what the head is given of each.

    Args:
        most: pictures, from all over the validation part where it has more.
        side_px: of a thumbnail.
    """

    def __init__(self, most: int = 1000, side_px: int = 56) -> None:
        self.most = most
        self.side_px = side_px

    def on_judged(self, judged: Judged) -> None:
        """Write `embeddings/` and the projector's config into the run folder."""
        found, features = judged.judgement, judged.features
        if judged.writer is None:
            return
        count = len(features)
        shown = np.linspace(0, count - 1, min(count, self.most)).astype(int)
        rows = [("picture", "actual", "prediction", "outcome", "loss")]
        for i in map(int, shown):
            actual, guess = (found.classes[k[i]] for k in (found.labels, found.predicted))
            outcome = "right" if actual == guess else "wrong"
            rows.append((found.paths[i], actual, guess, outcome, f"{found.losses[i]:.3f}"))
        vectors = ("\t".join(f"{x:.6g}" for x in vector) for vector in features[shown].tolist())
        paths = [judged.samples[i].path for i in shown]
        sheet = sprite(thumbnails(paths, self.side_px), self.side_px)
        folder = judged.folder / "embeddings"
        folder.mkdir(exist_ok=True)
        write_file(folder / "tensors.tsv", "\n".join(vectors) + "\n")
        write_file(folder / "metadata.tsv", "".join(map(_line, rows)))
        sheet.save(folder / "sprite.png")
        config = projector.ProjectorConfig()
        entry = config.embeddings.add()
        entry.tensor_name = "validation pictures"
        entry.tensor_path = "embeddings/tensors.tsv"
        entry.metadata_path = "embeddings/metadata.tsv"
        entry.sprite.image_path = "embeddings/sprite.png"
        entry.sprite.single_image_dim.extend([self.side_px, self.side_px])
        projector.visualize_embeddings(str(judged.folder), config)


def _line(cells: tuple[str, ...]) -> str:
    return "\t".join(" ".join(cell.split()) for cell in cells) + "\n"
