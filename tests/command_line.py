"""The real command line, run in a process that was forked for it."""

import importlib.metadata
import io
import multiprocessing
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_here(script: str, arguments: list[str], cwd: Path, environment: dict[str, str]) -> None:
    os.setsid()
    # as in a process of one's own; it came from a fork server, whose workers import torch again
    multiprocessing.set_start_method(None, force=True)
    os.chdir(cwd)
    os.environ.update(environment)
    hide(environment.get("HIDDEN_PACKAGE"))
    if "TEST_MANIFEST" in environment:
        from hymenoptera.data import manifest, sources

        expected = manifest.read_manifest(Path(environment["TEST_MANIFEST"]))
        sources.official_manifest = lambda: expected
    for descriptor, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    if Path("in.txt").exists():
        sys.stdin = io.StringIO(Path("in.txt").read_text())
    if script == "hymenoptera":
        from hymenoptera.cli import main

        sys.argv = [script, *arguments]
        main()
    sys.argv = [str(ROOT / script), *arguments]  # Lightning starts other processes by it
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / script), run_name="__main__")


def hide(package: str | None) -> None:
    """Have a package be missing."""
    if package is not None:
        find = importlib.metadata.distribution
        importlib.metadata.distribution = lambda name: find("no-" * (package in name) + name)
        sys.modules[package] = None
