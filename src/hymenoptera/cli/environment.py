"""`hymenoptera env`: what an issue should say of the machine and of what is installed."""

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from hymenoptera.cli.application import command, show_result

CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


@command("hymenoptera env")
def env() -> None:
    """Print versions, devices and CPU features, for an issue."""
    show_result("\n".join([*_machine(), *_devices(), *_packages()]))


def _machine() -> list[str]:
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    name = re.search(r"model name\s*: (.*)", cpu)
    words = set(cpu.split())
    features = [feature for feature in CPU_FEATURES if feature in words]
    return [
        f"hymenoptera {version('hymenoptera')}",
        f"Python {sys.version.split()[0]} on {platform.platform()}",
        f"CPU {name[1] if name else platform.processor()}, {os.cpu_count()} cores"
        f"{', ' if features else ''}{', '.join(features)}",
    ]


def _devices() -> list[str]:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return [f"CUDA {torch.version.cuda}: {', '.join(found)}"]
    return ["MPS" if torch.backends.mps.is_available() else "no GPU"]


def _packages() -> list[str]:
    needed = [need for need in requires("hymenoptera") or [] if 'extra == "dev"' not in need]
    lines = []
    for name in sorted({re.split(r"[^\w-]", need)[0] for need in needed}):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return lines
