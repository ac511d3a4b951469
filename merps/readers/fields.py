"""Fields of an HDF5 file that anybody may have written, checked before use."""

import re
from typing import Any

import numpy as np
from jaxtyping import Float64

from merps.errors import InputError
from merps.readers.mat5_streams import DEFLATE_RATIO

#: What a field without stored bytes may still declare, and all that a fact may take.
_SMALL_BYTES = 2**20
_REMEDY = "export the recording again"


def find_field(group: Any, name: str) -> Any:
    """Return a field that holds what it declares.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.

    Returns
    -------
    h5py.Dataset
        Not read yet.

    Raises
    ------
    InputError
        If it is absent or no field, lies in another file, or declares more than its
        stored bytes can hold.
    """
    import h5py

    if name not in group:
        raise InputError(f"{group.name}: expected {name}, found none; {_REMEDY}")
    item = group[name]
    where = f"{group.name}/{name}"
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        what = "a group" if isinstance(item, h5py.Group) else "nothing"
        raise InputError(f"{where}: expected data, found {what}; {_REMEDY}")
    if item.is_virtual or item.external:
        raise InputError(f"{where}: its data lie in another file; {_REMEDY}")
    n_stored = item.id.get_storage_size()
    if item.nbytes > _SMALL_BYTES + DEFLATE_RATIO * n_stored:
        raise InputError(
            f"{where}: it declares {item.nbytes} bytes, more than {n_stored} stored "
            f"bytes can hold; {_REMEDY}"
        )
    return item


def find_group(group: Any, name: str) -> Any:
    """Return a group, an empty one where it is absent.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.

    Returns
    -------
    h5py.Group or dict
        It.

    Raises
    ------
    InputError
        If something else has the name.
    """
    import h5py

    if name not in group:
        return {}
    item = group[name]
    if not isinstance(item, h5py.Group):
        raise InputError(f"{item.name}: expected a group, found data; {_REMEDY}")
    return item


def numbered_groups(group: Any, stem: str) -> list[Any]:
    """Return the groups ``stem1``, ``stem2`` ... in the order of their numbers.

    Parameters
    ----------
    group : h5py.Group
        Where they are.
    stem : str
        What their names begin with; it may also stand alone.

    Returns
    -------
    list of h5py.Group
        All there are.

    Raises
    ------
    InputError
        If something else has such a name.
    """
    names = [name for name in group if re.fullmatch(rf"{stem}\d*", name)]
    names.sort(key=lambda name: (int(name[len(stem) :] or 0), name))
    return [find_group(group, name) for name in names]


def require_numbers(field: Any) -> Any:
    """Return a field if it holds real numbers.

    Parameters
    ----------
    field : h5py.Dataset
        As from `find_field`.

    Returns
    -------
    h5py.Dataset
        The same.

    Raises
    ------
    InputError
        If it holds something else, such as text or complex numbers.
    """
    if field.dtype.kind not in "biuf":
        what = "text" if _is_text(field) else f"type {field.dtype}"
        raise InputError(
            f"{field.name}: expected real numbers, found {what[:60]}; {_REMEDY}"
        )
    return field


def read_numbers(group: Any, name: str) -> Float64[np.ndarray, "..."]:
    """Read a small field of numbers.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.

    Returns
    -------
    ndarray of float64
        Of the shape that it has in the file; empty where it has none.

    Raises
    ------
    InputError
        If it is absent, or holds something else or too much.
    """
    if _is_null(group, name):
        return np.empty(0)
    return _read_small(require_numbers(find_field(group, name))).astype(np.float64)


def read_entries(group: Any, name: str) -> list[str | float]:
    """Read a small field of text or numbers as a list.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.

    Returns
    -------
    list of str or float
        Its entries; none where it is absent.

    Raises
    ------
    InputError
        If it holds something else or too much.
    """
    if name not in group or _is_null(group, name):
        return []
    field = find_field(group, name)
    if not _is_text(field):
        return np.ravel(read_numbers(group, name)).tolist()
    flat = np.ravel(_read_small(field))
    return [
        v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in flat
    ]


def read_texts(group: Any, name: str) -> list[str]:
    """Read a small field of text; numbers are written out.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.

    Returns
    -------
    list of str
        Its entries without spaces around them; none where it is absent.

    Raises
    ------
    InputError
        If it holds something else or too much.
    """
    return [
        (entry if isinstance(entry, str) else f"{entry:g}").strip()
        for entry in read_entries(group, name)
    ]


def _is_null(group: Any, name: str) -> bool:
    """Tell that a field is there without anything in it, not even a shape."""
    return name in group and getattr(group[name], "shape", ()) is None


def _is_text(field: Any) -> bool:
    """Tell whether a field holds text."""
    import h5py

    return field.dtype.kind == "S" or h5py.check_string_dtype(field.dtype) is not None


def _read_small(field: Any) -> np.ndarray:
    """Read all of a field that is no signal."""
    if field.nbytes > 16 * _SMALL_BYTES:
        raise InputError(
            f"{field.name}: expected a few entries, found an array of shape "
            f"{field.shape}; {_REMEDY}"
        )
    return np.asarray(field[()])
