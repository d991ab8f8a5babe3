"""Print the lowest versions that pyproject.toml admits, as constraints for pip."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
FLOOR = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?\s*>=\s*([\w.]+)")


def floors() -> dict[str, str]:
    """The floor of each requirement that has one, by its name."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (FLOOR.match(requirement) for group in groups for requirement in group)
    return {match[1]: match[2] for match in found if match}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in floors().items()))
