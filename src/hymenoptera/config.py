"""Checks a config before any work, and builds objects from it; the one place that instantiates.

`check` knows every key that conf/ offers and what its value may be. It imports neither torch nor
Lightning, so that a wrong request is answered at once.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from hymenoptera.conflicts import check_together
from hymenoptera.errors import HymenopteraError, RequestError, nearest
from hymenoptera.rules import RULES, rule_of, shown
from hymenoptera.targets import check_targets

OPEN_NODES = ("optimizer", "scheduler", "trainer", "callbacks", "logger", "sweep.cluster")
"""Nodes that are handed to a class as they are: +trainer.OPTION=VALUE is the user's business."""


def check(cfg: DictConfig, *, files: bool = True) -> dict[str, Any]:
    """Refuse a config that cannot work, as far as that can be told without any work.

    Args:
        cfg: the composed config, without Hydra's own node.
        files: whether to look for those that it names; without, every machine says the same.

    Returns:
        The config with its interpolations resolved, as plain containers.

    Raises:
        RequestError: naming the key, its value and what it must be.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "the config"
        what = str(error).splitlines()[0]
        raise RequestError(f"{key}: {what}. Set it with {key}=VALUE.") from error
    assert isinstance(plain, dict)
    config = {str(key): value for key, value in plain.items()}
    check_targets(config)
    check_values(config)
    try:
        check_together(config, files=files)
    except (LookupError, TypeError, AttributeError) as error:
        raise RequestError(
            f"The config is not whole: {error}. Leave out the override that removes or replaces "
            f"a part of it."
        ) from error
    return config


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A composed config as it is checked: less Hydra's node, with a place for what a run leaves."""
    job = cfg.copy()
    OmegaConf.set_readonly(job, False)
    with open_dict(job):
        hydra = job.pop("hydra")
        # interpolations of the run folder are resolved when there is one
        for key in ("callbacks", "logger"):
            for node in job.get(key, {}).values():
                for name in ("dirpath", "save_dir"):
                    if node and name in node:
                        node[name] = str(hydra.run.dir)
    return job


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse a key that conf/ does not have, and a value that its rule does not allow.

    Args:
        config: composed, in plain containers; all of it, or some of its nodes.

    Raises:
        RequestError: naming the key, its value and what it must be.
    """
    for key, value in flatten(config).items():
        rule = rule_of(key)
        if rule is None:
            if not f"{key}.".startswith(tuple(f"{node}." for node in OPEN_NODES)):
                raise RequestError(f"{key}: there is no such key. {nearest(key, RULES)}")
            continue
        wanted = rule(value)
        if wanted is not None:
            raise RequestError(f"{key}={shown(value)}: it must be {wanted}.")


def build(node: Mapping[str, Any], *arguments: Any, **more: Any) -> Any:
    """Call what a node's `_target_` names, with the node's other keys and what is given here.

    Args:
        node: of the config; its keys are the keyword arguments.
        arguments: go before them, as they are.
        more: go beside them, as they are.

    Raises:
        RequestError: a target, of the node or of one inside it, lies outside `ALLOWED_TARGETS`,
            or refuses its arguments.
    """
    from hydra.utils import instantiate

    check_targets(node)  # of all nodes in it: instantiate builds those too
    target = str(node["_target_"])
    try:
        # partial: what is given here must not pass through OmegaConf, which copies
        return instantiate(node, _partial_=True, _convert_="all")(*arguments, **more)
    except HymenopteraError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise RequestError(f"{target.rpartition('.')[2]} cannot be built: {reason}") from error


def build_named(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Build a named dictionary of nodes, less those with `enabled: false`."""
    return {
        name: build({key: value for key, value in node.items() if key != "enabled"})
        for name, node in nodes.items()
        if node and node.get("enabled", True)
    }


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; a list is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
