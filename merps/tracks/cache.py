"""Features on disk: named by what was encoded, checked when read, safe to interrupt."""

import hashlib
import io
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from jaxtyping import Float32

from merps.datasets.manifest import load_manifest
from merps.errors import InputError, mismatch
from merps.store import Store, remove_leftovers
from merps.store.files import canonical, replace_file, sealed, writing
from merps.tracks.media import read_array

logger = logging.getLogger(__name__)

SOURCE = "mer2026"
_REMEDY = "correct the file, or leave the clip out of the table"


def open_store(path: Path) -> Path:
    """Make the folder of a track's features: private, and ignored by git.

    Parameters
    ----------
    path : Path
        May be absent, empty, or such a folder already.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If it holds other things.
    SpaceError
        If it cannot be written.
    """
    source = load_manifest().sources[SOURCE]
    store = Store.create(
        Path(path),
        config={"holds": "features of clips"},
        source=SOURCE,
        role=source.role,
        terms=" ".join(source.terms),
    )
    return store.path


class FeatureCache:
    """Features of one encoder, a file for each content that was encoded.

    A file is named by the digest of the content and its own, so that there is no index
    to lose, a clip under another name is found again, and damage is seen.

    Parameters
    ----------
    store : Path
        Folder from `open_store`.
    description : mapping
        All that decides the features apart from the content.

    Raises
    ------
    SpaceError
        If the folder cannot be made.
    """

    def __init__(self, store: Path, description: Mapping[str, Any]) -> None:
        self.key = hashlib.sha256(canonical(description)).hexdigest()
        modality = description["options"]["modality"]
        self.folder = store / "features" / f"{modality}-{self.key[:12]}"
        with writing(self.folder, needed_bytes=0):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            replace_file(self.folder / "encoder.json", sealed(description))
        self._paths = {p.name.split(".")[0]: p for p in self.folder.glob("*.npy")}

    def write(
        self, content: str, features: Float32[np.ndarray, "step feature"]
    ) -> None:
        """Keep the features of a content, whole or not at all.

        Parameters
        ----------
        content : str
            Its digest.
        features : ndarray of float32, shape (step, feature)
            What the encoder gave.

        Raises
        ------
        SpaceError
            If the file cannot be written.
        """
        data = as_npy(features)
        path = self.folder / f"{content}.{xxhash.xxh3_64_hexdigest(data)}.npy"
        with writing(path, needed_bytes=len(data)):
            replace_file(path, data)
        self._paths[content] = path

    def read(self, content: str) -> Float32[np.ndarray, "step feature"] | None:
        """Return the features of a content, or None if they are not there or damaged.

        Parameters
        ----------
        content : str
            Its digest.

        Returns
        -------
        ndarray of float32, shape (step, feature), or None
            A damaged file is removed with a warning.
        """
        path = self._paths.get(content)
        if path is None:
            return None
        data = path.read_bytes()
        if xxhash.xxh3_64_hexdigest(data) != path.name.split(".")[1]:
            logger.warning("%s: damaged, encoded anew", path)
            path.unlink(missing_ok=True)
            del self._paths[content]
            return None
        return np.load(io.BytesIO(data))


class FeatureArrays:
    """Features of many contents in memory, handed out padded to equal length.

    Parameters
    ----------
    arrays : iterable of ndarray of float32, shape (step, feature)
        Each with at least one step.

    Raises
    ------
    InputError
        If they differ in their number of features.
    """

    def __init__(self, arrays: Iterable[Float32[np.ndarray, "_ _"]]) -> None:
        self._arrays = list(arrays)
        widths = {array.shape[1] for array in self._arrays}
        if len(widths) > 1:
            raise InputError(
                f"features of one stream differ in width: {sorted(widths)}"
            )
        self.width = widths.pop() if widths else 0

    def gather(self, rows: np.ndarray) -> Float32[np.ndarray, "row feature step"]:
        """Return the features of some contents.

        Parameters
        ----------
        rows : ndarray of int64, shape (row,)
            Numbers of contents.

        Returns
        -------
        ndarray of float32, shape (row, feature, step)
            NaN behind the end of shorter ones.
        """
        chosen = [self._arrays[row] for row in rows]
        n_steps = max((len(array) for array in chosen), default=1)
        out = np.full((len(chosen), self.width, n_steps), np.nan, dtype=np.float32)
        for k, array in enumerate(chosen):
            out[k, :, : len(array)] = array.T
        return out


def read_features(path: Path) -> Float32[np.ndarray, "step feature"]:
    """Read features of one clip in the official form.

    Parameters
    ----------
    path : Path
        A ``.npy`` file of shape (feature,) or (step, feature).

    Returns
    -------
    ndarray of float32, shape (step, feature)
        One step where the file has none.

    Raises
    ------
    DataError
        If it holds anything else, or a number is not finite.
    """
    stored = read_array(path)
    if stored.ndim not in (1, 2) or stored.dtype.kind not in "fiu" or not stored.size:
        raise mismatch(
            path,
            expected="numbers of shape (feature,) or (step, feature)",
            found=f"{stored.dtype} of shape {stored.shape}",
            remedy=_REMEDY,
        )
    features = np.atleast_2d(stored).astype(np.float32)
    if not np.isfinite(features).all():
        raise mismatch(
            path, expected="finite numbers", found="NaN or infinity", remedy=_REMEDY
        )
    return features


def as_npy(array: np.ndarray) -> bytes:
    """Return the bytes of a ``.npy`` file of plain numbers."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
