"""Random configs and bytes: an answer in words and in time; ten times as many with FUZZ=1."""

import itertools
import os
import string
import time
from io import BytesIO

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from command_line import ROOT
from hymenoptera.config.command import explained, for_hydra, is_explained
from hymenoptera.config.schema import RULES
from hymenoptera.config.validation import check
from hymenoptera.data.images import fault
from hymenoptera.errors import ConfigError
from torture.test_files import READERS, RGB, SIXTEEN, TINY, saved

FUZZ = float(os.environ.get("FUZZ", 0))
OPTIONS = [f"{p.parent.name}={p.stem}" for p in sorted((ROOT / "conf").glob("*/*.yaml"))]
KEYS = st.sampled_from(sorted(RULES))
NODES = st.sampled_from(sorted({key.split(".")[0] for key in RULES}))
WORDS = st.text(
    string.ascii_letters + string.digits + "_.-/=[]{}(),:'\"$ äß~+*?!#&|<>\\\t", max_size=20
)
TYPICAL = "1e-4 0 -1 true null ??? auto [] {} '' fail resnet34 cpu ${seed} ${nowhere} ${hydra:job}"
NUMBERS = st.integers(-(2**70), 2**70).map(str) | st.floats().map(str)
SIMPLE = st.one_of(st.sampled_from(TYPICAL.split()), NUMBERS, KEYS, WORDS)
VALUES = st.one_of(
    SIMPLE,
    st.lists(SIMPLE, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.builds("{{{}:{}}}".format, st.sampled_from(["a", "_target_", "lr"]), SIMPLE),
)
OVERRIDES = st.one_of(
    st.sampled_from(OPTIONS),
    st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++"]), KEYS, VALUES),
    st.builds("~{}".format, KEYS | NODES),
    st.builds("{}={}".format, NODES, VALUES),
    WORDS,
)


def examples(few):
    return settings(
        max_examples=max(few, int(10 * few * FUZZ)),
        deadline=None,
        derandomize=not FUZZ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def limited(read, *arguments, lines=1):
    """Read within two seconds, to the end or with an error of so many lines."""
    began = time.process_time()
    try:
        read(*arguments)
    except ConfigError as error:
        assert len(str(error).splitlines()) <= lines, error
    assert time.process_time() - began < 2


def mutated(whole):
    """Bytes with some of them changed, cut out, repeated, or cut off."""

    def change(edits):
        data = bytearray(whole)
        for place, length, new in edits:
            start = place % (len(data) + 1)
            data[start : start + length] = new
        return bytes(data)

    edit = st.tuples(st.integers(0, len(whole)), st.integers(0, 8), st.binary(max_size=8))
    return st.one_of(st.lists(edit, min_size=1, max_size=6).map(change), st.binary(max_size=200))


def answer(overrides):
    """What a command with these overrides says before any work; empty where it starts."""
    try:
        arguments = for_hydra(["data.source=source", "model.weights=none", *overrides])
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            check(compose("train", overrides=arguments, return_hydra_config=True))
    except SystemExit:  # -h is a page
        return "help"
    except Exception as error:
        assert is_explained(error), repr(error)
        return str(explained(error))
    finally:
        GlobalHydra.instance().clear()
    return ""


def test_random_overrides_start_or_are_explained_in_three_lines(tmp_path, monkeypatch, tried):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (tmp_path / "source").mkdir()
    answers = []

    @examples(10)
    @given(st.lists(OVERRIDES, min_size=1, max_size=4))
    def one(overrides):
        answers.append(answer(overrides))
        assert len(answers[-1].splitlines()) <= 3, answers[-1]

    one()
    assert 1 <= answers.count("") < len(answers)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]
    tried(len(answers))


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "JPEG", "WEBP"])
def test_random_images(tmp_path, form, tried):
    path, reasons = tmp_path / "a.jpg", []
    image = saved(SIXTEEN if form in ("PNG", "TIFF") else RGB, form, progressive=True)

    @examples(40)
    @given(mutated(image))
    def one(content):
        path.write_bytes(content)
        limited(lambda: reasons.append(fault(path) or ""))
        assert len(reasons[-1].splitlines()) <= 1

    one()
    tried(len(reasons))


def test_random_checkpoints_and_weights(tmp_path, tried):
    torch.save(TINY, buffer := BytesIO())
    paths = [tmp_path / "a.ckpt", tmp_path / "a.safetensors"]
    count = itertools.count()

    @examples(60)
    @given(st.tuples(mutated(buffer.getvalue()), mutated(save(TINY["state_dict"]))))
    def one(contents):
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
            next(count)
            for read in READERS[1:]:  # the first one builds a network, where the second succeeds
                limited(read, path, lines=2)

    one()
    tried(next(count))
