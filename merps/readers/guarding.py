"""Libraries that read files of anybody: what they raise becomes one message."""

import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from merps.errors import DataError, InputError, MerpsError, SpaceError

_Read = TypeVar("_Read")

#: What a user can do about a file that MNE does not read.
MNE_REMEDY = "pass a whole and continuous recording that MNE reads"
_LOCK = threading.Lock()

logger = logging.getLogger(__name__)


def guarded(path: Path, read: Callable[[], _Read], *, remedy: str) -> _Read:
    """Call a reader; whatever goes wrong inside becomes one message.

    Parameters
    ----------
    path : Path
        The file, for the message.
    read : callable
        Reads it.
    remedy : str
        What the user can do, as a full clause.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    DataError
        If anything goes wrong inside.
    SpaceError
        If there is no memory for it.
    """
    try:
        with np.errstate(all="ignore"):  # damaged numbers may be of any kind
            return read()
    except InputError as error:
        raise DataError(f"{path}: {error}") from error
    except MerpsError:
        raise
    except MemoryError as error:
        raise SpaceError(
            f"{path}: no memory for its samples; run fewer jobs at once"
        ) from error
    except Exception as error:  # readers of a dozen formats raise whatever they like
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: cannot be read as a recording ({type(error).__name__}: {said}); "
            f"{remedy}"
        ) from error


def quietly(path: Path, read: Callable[[], _Read], *, remedy: str) -> _Read:
    """Call a reader, one thread at a time, and log its warnings.

    Parameters
    ----------
    path : Path
        The file, for messages.
    read : callable
        Reads it.
    remedy : str
        What the user can do if it fails, as a full clause.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    DataError
        If anything goes wrong inside.
    SpaceError
        If there is no memory for it.
    """
    # What libraries and Python say of warnings holds for all threads.
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = guarded(path, read, remedy=remedy)
    for warning in caught:
        logger.info("%s: %s", path.name, warning.message)
    return found
