"""One door to every layout of data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merps.datasets.lab import open_lab
from merps.datasets.mer_ps import open_dataset
from merps.datasets.protocol import Dataset
from merps.errors import DataError


def open_data(root: Path | str, section: Mapping[str, Any] | None) -> Dataset:
    """Open a folder of recordings.

    Parameters
    ----------
    root : Path
        The folder.
    section : mapping or None
        The ``dataset`` section of a configuration, which describes a lab's own folder;
        None for a folder of MER-PS or REFED.

    Returns
    -------
    Dataset
        People and their trials.

    Raises
    ------
    DataError
        If there is no such folder, or nobody in it.
    ConfigError
        If the section cannot be used.
    """
    if section is not None:
        return open_lab(root, section)
    try:
        return open_dataset(root)
    except DataError as error:
        raise DataError(
            f"{error}; if it is a folder of your own, write a configuration with: "
            f"merps init {root}"
        ) from error
