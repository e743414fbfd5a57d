"""Updates of the base, wherever they are: in files of their own, or with an adapter over them."""

from dataclasses import replace
from pathlib import Path

from model.adapter import Adapter, AdapterError, LowRank, kind_of, load_adapter, load_update
from model.config import ModelConfig


def load_base_update(path: Path, config: ModelConfig, alpha: float | None = None) -> Adapter:
    """The update of the base in a file of its own, or in that of an adapter trained over it.

    Args:
        path: the file.
        config: of the base.
        alpha: to be written with; what is added stays the same. As it is if None.

    Raises:
        AdapterError: if the file cannot be read, does not fit, or brings no update.
    """
    if kind_of(path) == "merge":
        update: Adapter | None = load_adapter(path, config, "merge")
    else:
        update = load_update(path, config)
    if update is None:
        raise AdapterError(f"{path} brings no update of the base.")
    if alpha is not None and alpha != update.config.alpha:
        for module in update.modules():
            if isinstance(module, LowRank):
                module.b.data = module.b.data.float() * (update.config.alpha / alpha)
                module.scale = alpha / update.config.rank
        update.config = replace(update.config, alpha=alpha)
    return update
