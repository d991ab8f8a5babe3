"""The config of a run: its schema and validation, and the words for what is wrong with it.

Neither torch nor Lightning is imported here, so that an invalid config is answered at once.
"""

from omegaconf import OmegaConf

from hymenoptera.config.launched import run_name

OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
