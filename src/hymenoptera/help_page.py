"""What `python train.py --help` prints, without composing a config.

Hydra reads the folder of each group several times for it, each time with a copy of all it knows: a
second, where its own one-group program takes half of one.
"""

from pathlib import Path
from string import Template

from omegaconf import OmegaConf


def help_page(conf: Path) -> str:
    """The template under `hydra.help` of train.yaml, filled in as Hydra fills it in.

    Args:
        conf: the folder of train.yaml and of the groups.
    """
    template = OmegaConf.load(conf / "train.yaml").hydra.help.template
    groups = {
        folder.relative_to(conf).as_posix(): sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in conf.rglob("*")
        if folder.is_dir()
    }
    lines = [f"{group}: {', '.join(options)}\n" for group, options in sorted(groups.items())]
    return Template(template).substitute(APP_CONFIG_GROUPS="".join(lines))
