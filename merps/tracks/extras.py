"""Libraries that only the tracks need, imported when they are used."""

import importlib
import os
from types import ModuleType

from merps.errors import InputError


def require_extra(module: str, extra: str, *, why: str) -> ModuleType:
    """Import a library, or say how to install it.

    Parameters
    ----------
    module : str
        Its name.
    extra : str
        The extra of merps that brings it.
    why : str
        What it is needed for.

    Returns
    -------
    module
        The library.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} is needed {why} and is not installed; install it with: "
            f"pip install 'merps[{extra}]'"
        ) from error


def require_transformers() -> ModuleType:
    """Import transformers so that it stays offline and quiet.

    Returns
    -------
    module
        The library.

    Raises
    ------
    InputError
        If it is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is first imported
    transformers = require_extra("transformers", "av", why="to encode clips")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers
