"""Random requests and random bytes: an answer each time, in words, in time, and leaving nothing."""

import gc
import json
import os
import resource
import string
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT
from hymenoptera.config import check
from hymenoptera.data.archive import unpack
from hymenoptera.data.pictures import unreadable_pictures
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import KEY, facts_inside
from hymenoptera.models.weights import read_state_dict
from hymenoptera.results.runs import find_runs, runs_table, sort_runs
from hymenoptera.rules import RULES
from hymenoptera.wording import in_words, is_request
from loopback import zip_bytes
from test_config import composed
from torture.test_pictures import READ

OPTIONS = [
    f"{group.name}={option.stem}"
    for group in sorted((ROOT / "conf").iterdir())
    if group.is_dir()
    for option in sorted(group.glob("*.yaml"))
    if option.stem not in ("slurm", "joblib")  # plugins that need not be there
]
KEYS = sorted(RULES)
WORDS = st.text(
    string.ascii_letters + string.digits + "_.-/=[]{}(),:'\"$ äß~+*?!#&|<>\\\t", max_size=20
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(["1e-4", "0", "-1", "nan", "inf"])
)
SIMPLE = st.one_of(
    NUMBERS.map(str),
    st.sampled_from(["true", "false", "null", "???", "auto", "none", "[]", "{}", "''", "fail"]),
    st.sampled_from([str(word) for key in KEYS for word in ("auto", key)]),
    st.sampled_from(["${seed}", "${data}", "${nowhere}", "${oc.env:HOME}", "${hydra:job}"]),
    WORDS,
)
VALUES = st.one_of(
    SIMPLE,
    st.lists(SIMPLE, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.dictionaries(st.sampled_from(["a", "_target_", "lr"]), SIMPLE, max_size=2).map(
        lambda items: "{" + ",".join(f"{k}:{v}" for k, v in items.items()) + "}"
    ),
)
OVERRIDES = st.one_of(
    st.sampled_from(OPTIONS),
    st.tuples(st.sampled_from(["", "", "+", "++"]), st.sampled_from(KEYS), VALUES).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    ),
    st.sampled_from(KEYS).map(lambda key: f"~{key}"),
    st.sampled_from([key.split(".")[0] for key in KEYS]).map(lambda key: f"~{key}"),
    st.tuples(st.sampled_from([k.split(".")[0] for k in KEYS]), VALUES).map("=".join),
    WORDS,
)


def examples(few: int, many: int) -> settings:
    """Few of them, always the same; many others where FUZZ is set, as by make torture."""
    at_length = "FUZZ" in os.environ
    return settings(
        max_examples=many if at_length else few,
        deadline=None,
        derandomize=not at_length,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def bounded(limit_mb: int = 600) -> Iterator[None]:
    """No more memory than that on top of what there was."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < limit_mb


def answer(overrides: list[str], folder: Path) -> str:
    """What a command with these overrides would say before any work; empty where it starts."""
    try:
        OverridesParser.create().parse_overrides(overrides)
        check(composed(f"data.source={folder}", "model.weights=none", *overrides))
    except Exception as error:
        if not is_request(error):
            raise
        return str(in_words(error))
    finally:
        GlobalHydra.instance().clear()
    return ""


def test_random_overrides_start_or_are_refused_in_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[..., None]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    seen = {"started": 0, "refused": 0}

    @examples(40, 2000)
    @given(st.lists(OVERRIDES, min_size=1, max_size=4))
    def one(overrides: list[str]) -> None:
        said = answer(overrides, source)
        assert len(said.splitlines()) <= 3, said
        assert "Traceback" not in said
        seen["refused" if said else "started"] += 1

    one()
    assert min(seen.values()) >= 2, seen
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
    record_property("tried", sum(seen.values()))


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some of them changed, cut out, repeated, or cut off."""

    def change(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(whole)
        for place, length, new in edits:
            start = place % (len(data) + 1)
            data[start : start + length] = new
        return bytes(data)

    edit = st.tuples(st.integers(0, len(whole)), st.integers(0, 8), st.binary(max_size=8))
    return st.one_of(st.lists(edit, min_size=1, max_size=6).map(change), st.binary(max_size=200))


def limited(read: Callable[[], object]) -> None:
    """The reader ends within a second; that of collecting the tests' garbage is not its own."""
    gc.disable()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    read()
    taken_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    gc.enable()
    assert taken_s < 1


def test_random_archives(tmp_path: Path, record_property: Callable[..., None]) -> None:
    files = {"set/train/ants/1.jpg": b"one" * 20, "set/ü/2.jpg": b"two" * 20, "empty/": b""}
    wholes = [zip_bytes(files), zip_bytes(files, zipfile.ZIP_DEFLATED)]
    archive, count = tmp_path / "some.zip", iter(range(10**9))

    @examples(250, 2500)
    @given(st.one_of(*map(mutated, wholes)))
    def one(content: bytes) -> None:
        archive.write_bytes(content)
        target = tmp_path / "all" / str(next(count))
        target.mkdir(parents=True)

        def read() -> None:
            try:
                unpack(archive, target)
            except RequestError as error:
                assert len(str(error).splitlines()) == 1, error

        limited(read)

    with bounded():
        one()
    assert {p.name for p in tmp_path.iterdir()} == {"some.zip", "all"}
    tried = next(count)
    assert len(list((tmp_path / "all").iterdir())) == tried
    record_property("tried", tried)


@pytest.mark.parametrize(
    "kind",
    [
        "16-bit PNG",
        "progressive JPEG",
        "GIF in a .png",
        "16-bit TIFF",
        "animated",
        "turned by EXIF",
    ],
)
def test_random_pictures(tmp_path: Path, kind: str, record_property: Callable[..., None]) -> None:
    path, tried = tmp_path / "a.jpg", [0]

    @examples(60, 600)
    @given(mutated(READ[kind][1]()))
    def one(content: bytes) -> None:
        path.write_bytes(content)
        tried[0] += 1

        def read() -> None:
            for reason in unreadable_pictures([path]).values():
                assert len(reason.splitlines()) <= 1

        limited(read)

    with bounded():
        one()
    record_property("tried", tried[0])


def test_random_checkpoints(tmp_path: Path, record_property: Callable[..., None]) -> None:
    path, tried = tmp_path / "a.ckpt", [0]
    facts = {
        "schema_version": 1,
        "backbone": "resnet18",
        "classes": ["a", "b"],
        "weights_id": "w",
        "preprocessing": {"crop_px": 32},
        "config": {},
        "manifest_hash": "0",
    }
    torch.save({KEY: facts, "epoch": 1, "state_dict": {"head.weight": torch.zeros(2, 2)}}, path)
    whole = path.read_bytes()

    @examples(250, 2500)
    @given(mutated(whole))
    def one(content: bytes) -> None:
        path.write_bytes(content)
        tried[0] += 1

        def read() -> None:
            for reader in (facts_inside, read_state_dict):
                try:
                    reader(path)
                except RequestError as error:
                    assert len(str(error).splitlines()) <= 2, error

        limited(read)

    with bounded():
        one()
    record_property("tried", tried[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["best", "status", "val_accuracy", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def replaced(value: Any, path: list[str], new: Any) -> Any:
    """A record with the value at a path replaced, or a key added where the path ends."""
    if not path or not isinstance(value, dict):
        return new
    return {**value, path[0]: replaced(value.get(path[0]), path[1:], new)}


def test_random_records(
    tmp_path: Path, finished_run: Path, record_property: Callable[..., None]
) -> None:
    run, tried = tmp_path / "runs" / "one", [0]
    run.mkdir(parents=True)
    whole = json.loads((finished_run / "summary.json").read_text())
    keys = sorted({*whole, *(k for v in whole.values() if isinstance(v, dict) for k in v)})
    changed = st.tuples(st.lists(st.sampled_from(keys), max_size=2), JSON).map(
        lambda edit: json.dumps(replaced(whole, *edit)).encode()
    )
    raw = (finished_run / "summary.json").read_bytes()

    @examples(250, 2500)
    @given(st.one_of(changed, JSON.map(lambda v: json.dumps(v).encode()), mutated(raw)))
    def one(content: bytes) -> None:
        (run / "summary.json").write_bytes(content)
        tried[0] += 1

        def read() -> None:
            rows = find_runs(tmp_path / "runs")
            assert len(rows) == 1
            for key in ("accuracy", "time", "status"):
                runs_table(sort_runs(rows, key))

        limited(read)

    with bounded():
        one()
    record_property("tried", tried[0])


def test_what_the_options_are() -> None:
    """The fuzzing reaches all of conf/: a new group or key is in it by itself."""
    assert len(OPTIONS) >= 30
    top = yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())
    assert {key for key in top if key not in ("defaults", "hydra")} <= {
        key.split(".")[0] for key in KEYS
    }
