"""Write docs/configuration.md from conf/ and the schema: make docs.

Every key with its default, what it may be, and the comment beside it; every group with its options.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from hymenoptera.config.schema import RULES

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "configuration.md"
GROUPS = {  # each with the option whose keys are shown, and where its keys are in the config
    "data": "hymenoptera",
    "model": "resnet18",
    "transfer": "full",
    "optimizer": "adam",
    "scheduler": "one_cycle",
    "trainer": "auto",
    "callbacks": "default",
    "logger": "tensorboard",
    "sweep": "grid",
    "experiment": "",
}
HEAD = """# Configuration reference

Every key of a run, its default and what it may be. `make docs` writes this page from `conf/` and
the schema; `python train.py --cfg job` prints the config of a command. Lightning's own options of
the Trainer, of its callbacks and loggers, and those of `torch.optim` are added with their names,
and mean what their documentation says: `trainer.max_time=00:01:00:00`, `optimizer.amsgrad=true`.
"""


def commented(path: Path) -> Iterator[tuple[str, str, str]]:
    """Keys of a config file with dots, their values, and the comments beside them."""
    above: list[str] = []
    found: list[list[str]] = []
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"( *)([\w/]+):(?: (.*?))?(?: *(?<= )# (.*))?", line)
        if match is None:
            if found and (more := re.fullmatch(r" *# (.*)", line)) and found[-1][2]:
                found[-1][2] += f" {more[1]}"  # a comment goes on in the next line
            continue
        above = [*above[: len(match[1]) // 2], match[2]]
        found.append([".".join(above), match[3] or "", match[4] or ""])
    for key, value, comment in found:
        is_node = any(other.startswith(f"{key}.") for other, _, _ in found)
        if not is_node or comment:
            yield key, "" if is_node else value.strip(), comment


def row(key: str, value: str, comment: str) -> str:
    """A line of a table."""
    kind = RULES.get(key)
    words = [] if kind is None else [f"`{yaml.safe_dump(w).split()[0]}`" for w in kind.words]
    allowed = ", ".join(filter(None, [kind.wanted if kind else "", *words]))
    cells = (f"`{key}`", f"`{value}`" if value else "", allowed, comment)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def table(rows: list[str]) -> str:
    """A table of keys."""
    return "\n".join(["| key | default | may be | |", "|---|---|---|---|", *rows])


def header(path: Path) -> str:
    """The first sentence of a config file."""
    lines = path.read_text().splitlines()
    text = " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
    text = text.replace("@package _global_ ", "")
    return re.split(r"(?<=[.:;?]) |python train", text)[0].rstrip(" :;")


def page() -> str:
    """The whole page."""
    top = [
        row(*entry)
        for entry in commented(CONF / "train.yaml")
        if not entry[0].startswith(("hydra", "defaults"))
    ]
    parts = [HEAD, "## The run", table(top)]
    for group, shown in GROUPS.items():
        options = [
            f"| `{group}={p.stem}` | {header(p)} |" for p in sorted(CONF.glob(f"{group}/*.yaml"))
        ]
        parts += [f"## {group}", "\n".join(["| option | |", "|---|---|", *options])]
        if not shown:
            continue
        entries = [
            (f"{group}.{key}", *rest) for key, *rest in commented(CONF / group / f"{shown}.yaml")
        ]
        known = {key for key, *_ in entries}
        for path in sorted(CONF.glob(f"{group}/*.yaml")) if group in ("data", "optimizer") else []:
            more = [(f"{group}.{key}", *rest) for key, *rest in commented(path)]
            entries += [entry for entry in more if entry[0] not in known]
            known |= {key for key, *_ in entries}
        parts.append(table([row(*entry) for entry in entries if "defaults" not in entry[0]]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
