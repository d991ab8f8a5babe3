"""Every command that the project tells a user to type is typed here.

Commands are found in the README, in docs/, in the headers of conf/, in --help and in what runs
print. They run in a folder that has what they name (`RUN`, `~/images`, ...), on small images and
for a step or two. One that no rule below knows fails.
"""

import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
import torch
import torchvision
from PIL import Image

from command_line import ROOT
from conftest import LEAN, Ended, run, start, tiny_overrides, wait_for, write_images
from hymenoptera.data.manifest import entry_of, write_manifest

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *ROOT.glob("docs/*.md")]
PROGRAMS = (
    "python ",
    "hymenoptera ",
    "make",
    "torchrun ",
    "pip ",
    "tensorboard ",
    "eval ",
    "find ",
)
SET_UP = ("source ", "export ")  # what prepares the shell for the commands below it
SMALL = (
    *("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1"),
    *("data.batch_size=4", "data.num_workers=0"),
)
DRAWN = ("data=drawn", "data.train_per_class=8", "data.val_per_class=4", "data.size_px=48")
FONTS = matplotlib.get_cachedir()  # finding all fonts again takes seconds
OWN = ("data=imagefolder", "data.root=images", "seed=1")
ELSEWHERE = (  # run for real in tests of their own, or in need of a server or a device: composed
    *("slurm", "joblib", "submitit", "ddp", "trainer=gpu", "trainer=mps", "data.path=", "http://"),
)


def commands_in(text: str) -> Iterator[str]:
    """The commands of a Markdown page: lines of its code blocks, and code within its sentences."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in ("", "sh", "console"):
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line.strip() for line in lines if line.strip())
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        if code.startswith(PROGRAMS) and " " in code:
            yield " ".join(code.split())


def documented() -> dict[str, str]:
    """Where each documented command stands first."""
    found: dict[str, str] = {}

    def add(command: str, place: str) -> None:
        command = re.sub(r"\s+# .*", "", command).replace("runs/TIME", "RUN")
        found.setdefault(command, place)

    for page in PAGES:
        for command in commands_in(page.read_text()):
            add(command, str(page.relative_to(ROOT)))
    for config in sorted(ROOT.glob("conf/**/*.yaml")):
        text = re.sub(r" \\\n# +", " ", config.read_text())
        for command in re.findall(r"^(?:# +|      )(python train\.py.*)", text, re.MULTILINE):
            command = re.split(r"  +(?=\w)", command.strip())[0]
            add(command, str(config.relative_to(ROOT)))
    for example in helped():
        add(example, "hymenoptera --help")
    return found


def helped() -> Iterator[str]:
    """The examples of all commands' --help."""
    from hymenoptera.cli.application import app

    for command in app.registered_commands:
        yield from (line.strip() for line in (command.epilog or "").splitlines()[2:])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documented commands name."""
    home = tmp_path_factory.mktemp("home")
    parts = {part: dict.fromkeys(("ash", "oak"), 10) for part in ("train", "val", "test")}
    write_images(home / "images", parts)
    for name in ("other_images", "unlabelled", "FOLDER"):
        (home / name).symlink_to(home / "images")
    write_images(home, {"photos": {"2026": 4}})
    insects = dict.fromkeys(("ants", "bees"), 8)
    write_images(home / "zip" / "hymenoptera_data", {"train": insects, "val": insects})
    shutil.make_archive(str(home / "hymenoptera_data"), "zip", home / "zip")
    root = home / "zip" / "hymenoptera_data"
    files = {str(path.relative_to(root)): entry_of(path) for path in root.rglob("*.png")}
    write_manifest(home / "manifest.tsv", files)
    for name in ("ant.jpg", "bee.png", "photos/2026/wasp.jpg"):
        Image.open(home / "photos" / "2026" / "000.png").save(home / name)
    rows = [f"{path},{path.parent.name}" for path in sorted((home / "images").rglob("*.png"))]
    (home / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), home / "resnet18-f37072fd.pth")
    small = ("trainer.max_epochs=1", "model.backbone=mobilenet_v3_small")
    overrides = (*tiny_overrides(home / "images"), *small, *LEAN)
    for where in ("hydra.run.dir=RUN", "hydra.run.dir=OTHER_RUN"):
        ended = run("train.py", (*overrides, where), home, {})
        assert ended.status == 0, ended.err
    sweep = ("-m", *overrides, "optimizer.lr=1e-4,1e-3", "sweep.name=lr")
    ended = run("train.py", sweep, home, {})
    assert ended.status == 0, ended.err
    return home


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of it, without copying the files."""
    subprocess.run(["cp", "--recursive", "--link", f"{template}/.", tmp_path], check=True)
    (tmp_path / "best.ckpt").hardlink_to(tmp_path / "RUN" / "checkpoints" / "best.ckpt")
    for name in ("2026-01-31_12-00-00-000000", "rates"):
        (tmp_path / "runs" / name).symlink_to(tmp_path / ("runs/lr" if name == "rates" else "RUN"))
    (tmp_path / "my_module.py").write_text((ROOT / "tests" / "my_module.py").read_text())
    return tmp_path


def train_arguments(words: list[str], is_composed: bool) -> tuple[str, ...]:
    """The arguments of `python train.py`, for a step or two on small images."""
    if any(word.startswith(("--", "-sc")) for word in words):
        return tuple(words)  # it prints something and ends
    text = " ".join(words)
    if is_composed or any(name in text for name in ELSEWHERE):
        return (
            *(first_job(word) for word in words if word not in ("-m", "--multirun")),
            "--cfg",
            "job",
        )
    if "resume=" in text:
        return (*words, "trainer.max_epochs=2")
    small = [*SMALL] if "find_lr" not in text else ["find_lr.steps=20", "data.num_workers=0"]
    if "gradual" in text:
        small.append("trainer.max_epochs=9")
    if "data=" not in text and "data.source" not in text:
        small += OWN if "learning_curve" in text else DRAWN
    if not any(name in text for name in ("vit", "timm/", "model._target_")):
        small.append("model.image_size=32")
    if "optuna" in text:
        small.append("sweep.trials=2")
    if "model" not in text:
        small.append("model.backbone=mobilenet_v3_small")  # a tenth of the bytes to save and load
    return (*words, *small, *LEAN)


def first_job(override: str) -> str:
    """The override of a sweep's first job: --cfg prints one config."""
    key, _, value = override.partition("=")
    if match := re.fullmatch(r"\w+\(([^,]*).*\)", value):
        return f"{key}={match[1]}"
    return override if "[" in value else override.split(",")[0]


def run_documented(command: str, home: Path, *, is_composed: bool = False) -> Ended | None:
    """Run a command as a user would; None for what is checked without running it."""
    if "&&" in command:
        first, _, command = command.rpartition("&&")
        ended = run_documented(first, home)
        assert ended is None or ended.status == 0
    environment = {
        **{"HOME": str(home), "HYMENOPTERA_WEIGHTS": "none", "MPLCONFIGDIR": FONTS},
        **{"WANDB_MODE": "offline", "TEST_MANIFEST": str(home / "manifest.tsv")},
    }
    words = [
        word.replace("~/", f"{home}/") if word.startswith("~/") else word  # as a shell does
        for word in shlex.split(command, comments=True)
    ]
    match words:
        case ["python", "train.py", *rest]:
            return run("train.py", train_arguments(rest, is_composed), home, environment)
        case ["torchrun", *rest]:
            rest = rest[rest.index("train.py") + 1 :]
            return run("train.py", (*rest, "--cfg", "job"), home, environment)
        case ["hymenoptera", "train", *rest]:
            arguments = train_arguments(rest, is_composed)
            return run("hymenoptera", ("train", *arguments), home, environment)
        case ["hymenoptera", name]:
            return run("hymenoptera", (name, "--help"), home, environment)
        case ["hymenoptera", "serve", *rest]:
            return serve(rest, home, environment)
        case ["hymenoptera", *rest]:
            return run("hymenoptera", tuple(rest), home, environment)
        case ["find", *_]:
            (home / "in.txt").write_text("ant.jpg\nbee.png\n")
            return run("hymenoptera", tuple(words[words.index("hymenoptera") + 1 :]), home, {})
        case ["eval", completion]:
            return run("train.py", tuple(completion.rstrip(")").split()[2:]), home, environment)
        case ["make", *rest]:
            subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)
        case ["python", script, *options] if script.startswith("benchmarks/"):
            source = (ROOT / script).read_text()
            assert all(option in source for option in options if option.startswith("--"))
        case ["pip", "install", *_]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            for extras in re.findall(r"\[([\w,]+)\]", command):
                assert set(extras.split(",")) <= set(project["optional-dependencies"])
        case ["export", *assignments]:
            used = "".join(path.read_text() for path in ROOT.glob("conf/**/*.yaml"))
            assert all(assignment.partition("=")[0] in used for assignment in assignments)
        case ["source", ".venv/bin/activate"] | ["tensorboard", "--logdir", _]:
            pass
        case _:
            pytest.fail(f"no rule for this command: {command}")
    return None


def serve(words: list[str], home: Path, environment: dict[str, str]) -> Ended:
    """Start a server, and end it when it listens."""
    process = start("hymenoptera", ("serve", *words, "--port", "0"), home, environment)
    err = home / "err.txt"
    wait_for(lambda: err.is_file() and "http://" in err.read_text(), process)
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode in (0, -signal.SIGTERM)
    return Ended(0, "", "")


@pytest.mark.parametrize(("command", "place"), documented().items(), ids=lambda value: value[:100])
def test_a_documented_command_does_what_it_should(home: Path, command: str, place: str) -> None:
    """Training by commands of docs/ and conf/ is composed alone; the next test runs it."""
    ended = run_documented(command, home, is_composed=place != "README.md")
    assert ended is None or ended.status == 0, ended.err


@pytest.mark.torture
@pytest.mark.parametrize(
    "command",
    [c for c, place in documented().items() if "train" in c and place != "README.md"],
    ids=lambda command: command[:100],
)
def test_a_documented_training_runs(home: Path, command: str) -> None:
    ended = run_documented(command, home)
    assert ended is None or ended.status == 0, ended.err


@pytest.mark.torture
@pytest.mark.parametrize("benchmark", ["answers", "step_overhead"])
def test_a_benchmark_of_make_bench_runs(benchmark: str) -> None:
    """Those that need no images."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark}.py")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "ratio" in ended.stdout


def benchmarks() -> list[str]:
    """The programs of benchmarks/."""
    paths = (ROOT / "benchmarks").glob("*.py")
    return sorted(path.stem for path in paths if "def main" in path.read_text())


@pytest.mark.torture
@pytest.mark.parametrize("benchmark", benchmarks())
def test_a_benchmark_says_what_it_does(benchmark: str) -> None:
    assert f"`{benchmark}.py`" in (ROOT / "benchmarks" / "README.md").read_text()
    command = [sys.executable, str(ROOT / "benchmarks" / f"{benchmark}.py"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout[:6]) == (0, "usage:"), ended.stderr


def test_commands_are_found_in_pages_configs_and_help() -> None:
    places = set(documented().values())
    assert {"README.md", "docs/data.md", "conf/sweep/grid.yaml", "hymenoptera --help"} <= places
    assert len(documented()) > 60


@pytest.mark.parametrize(
    "command",
    [
        "python train.py experiment=haed",
        "python train.py optimiser.lr=1e-3",
        "hymenoptera predict RUN ~/photos --galery page.html",
        "make tset",
        "pip install -e '.[nothing]'",
        "python benchmarks/compare.py --fast",
    ],
)
def test_a_broken_command_would_be_noticed(home: Path, command: str) -> None:
    try:
        ended = run_documented(command, home)
    except (AssertionError, subprocess.CalledProcessError):
        return
    assert ended is not None
    assert ended.status != 0


def test_what_a_run_advises_can_be_typed(home: Path) -> None:
    """The lines that a run and a sweep print with a command in them."""
    outputs = [
        run_documented(command, home)
        for command in (
            "python train.py hydra.run.dir=run",
            "python train.py -m optimizer.lr=1e-4,1e-3 sweep.name=advice",
            "python train.py experiment=find_lr",
        )
    ]
    advised = {
        match[0].strip()
        for ended in outputs
        if ended is not None
        for match in re.finditer(
            r"(?:python train\.py|hymenoptera|tensorboard) [^()\n]*", ended.out
        )
    }
    assert len(advised) >= 4, advised
    for command in advised:
        ended = run_documented(command, home)
        assert ended is None or ended.status == 0, f"{command}: {ended.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(home: Path, monkeypatch: pytest.MonkeyPatch, page: Path) -> None:
    """As it stands there; the one with a Trainer is run by test_plug_in."""
    monkeypatch.chdir(home)
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if "trainer.fit" not in block:
            exec(compile(block, page.name, "exec"), {})


def test_the_configuration_reference_is_up_to_date() -> None:
    """`make docs` writes it."""
    page = runpy.run_path(str(ROOT / "docs" / "configuration.py"))["page"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == page
