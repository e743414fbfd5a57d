"""The adapters that come with the package, one file for a known model. Never loads torch."""

from pathlib import Path

FOLDER = Path(__file__).with_name("adapters")


def choose_adapter(adapter: str, model: str) -> Path | None:
    """The adapter's file that a setting names; None for the base alone.

    Args:
        adapter: `auto` for the one that comes with the model, `none`, or the path of a file.
        model: as the user named it; only known names have an adapter that comes with them.
    """
    if adapter == "none":
        return None
    if adapter != "auto":
        return Path(adapter)
    path = FOLDER / f"{model}.safetensors"
    return path if path.is_file() else None
