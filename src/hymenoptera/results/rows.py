"""Predictions as text, one after the other: a table, CSV, JSON, or JSON line by line."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol


class Row(Protocol):
    """What is written of a prediction."""

    @property
    def name(self) -> str:
        """The picture's path."""

    @property
    def probabilities(self) -> dict[str, float]:
        """By class, the highest first; empty where there are none."""

    @property
    def error(self) -> str | None:
        """Why there are none."""


Format = Literal["table", "csv", "json", "jsonl"]


def written(rows: Iterable[Row], form: Format, classes: list[str], top_k: int) -> Iterator[str]:
    """Predictions as text, piece by piece as they come.

    Args:
        rows: the predictions.
        form: how they are written.
        classes: of the model.
        top_k: how many classes of each are written.
    """
    top_k = min(top_k, len(classes))
    writers = {"table": _table, "csv": _csv, "json": _json, "jsonl": _jsonl}
    return writers[form](rows, classes, top_k)


def _table(rows: Iterable[Row], classes: list[str], top_k: int) -> Iterator[str]:
    width = max(len("runner-up"), *map(len, classes))
    ranks = ["class", "runner-up", *(f"class {n}" for n in range(3, top_k + 1))][:top_k]
    head = "  ".join(f"{rank:<{width}}  {'share':>7}" for rank in ranks)
    yield f"{head}  picture\n{'-' * len(head)}  -------\n"
    for row in rows:
        if row.error is not None:
            yield f"{'unreadable':<{len(head)}}  {row.name}: {row.error}\n"
            continue
        cells = "  ".join(
            f"{name:<{width}}  {100 * share:5.1f} %" for name, share in _top(row, top_k)
        )
        yield f"{cells}  {row.name}\n"


def _csv(rows: Iterable[Row], classes: list[str], top_k: int) -> Iterator[str]:
    ranks = [f"{what}_{n}" for n in range(1, top_k + 1) for what in ("class", "probability")]
    yield _csv_line(["path", *ranks, "error"])
    for row in rows:
        cells = [cell for name, share in _top(row, top_k) for cell in (name, f"{share:.8f}")]
        yield _csv_line([row.name, *(cells or [""] * (2 * top_k)), row.error or ""])


def _json(rows: Iterable[Row], classes: list[str], top_k: int) -> Iterator[str]:
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(_facts(row, top_k), ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _jsonl(rows: Iterable[Row], classes: list[str], top_k: int) -> Iterator[str]:
    for row in rows:
        yield json.dumps(_facts(row, top_k), ensure_ascii=False) + "\n"


def _facts(row: Row, top_k: int) -> dict[str, Any]:
    if row.error is not None:
        return {"path": row.name, "error": row.error}
    predictions = [{"class": name, "probability": share} for name, share in _top(row, top_k)]
    return {"path": row.name, "predictions": predictions}


def _top(row: Row, top_k: int) -> list[tuple[str, float]]:
    return list(row.probabilities.items())[:top_k]


def _csv_line(cells: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
