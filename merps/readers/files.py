"""One door to every format of recordings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from merps.errors import DataError, mismatch
from merps.readers.columns import Column
from merps.readers.neuro import SUFFIXES as NEURO_SUFFIXES
from merps.readers.neuro import open_neuro
from merps.readers.snirf import open_snirf
from merps.readers.streams import Stream
from merps.readers.xdf import open_xdf

#: File name endings of recordings that are looked for in a folder.
SUFFIXES = (*NEURO_SUFFIXES, ".xdf")


def open_recording(
    path: Path | str,
    *,
    length_unit: str | None = None,
    streams: Mapping[str, str] | None = None,
    columns: Sequence[Column] | None = None,
) -> tuple[Stream, ...]:
    """Open a recording of any format that is known.

    Parameters
    ----------
    path : Path
        The file; the format is told by the end of its name.
    length_unit : str, optional
        Of optode positions in SNIRF, where the file states a wrong one.
    streams : mapping of str to str, optional
        Streams of XDF to take, by modality.
    columns : sequence of Column, optional
        What the columns of an XDF stream of fNIRS are.

    Returns
    -------
    tuple of Stream
        EEG, fNIRS or both.

    Raises
    ------
    DataError
        If the file cannot be read, or holds neither.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    if name.endswith(".snirf"):
        return open_snirf(path, length_unit=length_unit)
    if name.endswith(".xdf"):
        return open_xdf(path, streams=streams, columns=columns)
    if not name.endswith(NEURO_SUFFIXES):
        raise mismatch(
            path,
            expected=f"a recording ({', '.join(SUFFIXES)})",
            found=f"a file that ends in {path.suffix or 'nothing'}",
            remedy="convert it to one of these",
        )
    return open_neuro(path)
