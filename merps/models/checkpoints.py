"""Numbered checkpoints of a training: plain tensors and JSON, whole or not at all."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash

from merps.errors import DataError, SpaceError, mismatch
from merps.store.files import read_sealed, remove_leftovers, replace_file, sealed

logger = logging.getLogger(__name__)

_KEPT = 2
_REMEDY = "an older checkpoint is used, or training starts again"


class Checkpoints:
    """The last checkpoints of one training, in a folder of their own.

    Each is a pair of files, ``00000007.safetensors`` and then ``00000007.json``, which
    names the digest of the other and of what determines the training. The largest
    number is the newest.

    Parameters
    ----------
    folder : Path
        Made if absent.
    digest : str
        Of everything that determines the training; checkpoints of another one are
        passed over with a warning, and removed when the first new one is written.

    Raises
    ------
    SpaceError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, digest: str):
        self._folder, self._digest = folder, digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._no_space(error) from error
        remove_leftovers(folder)
        self._number = max(self._numbers(), default=0)

    def newest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return the newest checkpoint of this training that is not damaged.

        Returns
        -------
        tuple of (dict of Tensor, dict) or None
            What was written; None where there is none to go on from.
        """
        for number in sorted(self._numbers(), reverse=True):
            try:
                description = read_sealed(self._path(number, "json"), remedy=_REMEDY)
                if description["digest"] != self._digest:
                    logger.warning(
                        "%s: these checkpoints are of a training with other data, "
                        "options or versions; training starts anew",
                        self._folder,
                    )
                    return None
                return self._tensors(number, description), description["facts"]
            except DataError as error:
                logger.warning("%s", error)
        return None

    def write(
        self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint and remove all but the last two.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            On any device.
        facts : mapping
            Numbers and texts that JSON can hold.

        Raises
        ------
        SpaceError
            If it cannot be written.
        """
        from safetensors.torch import save

        self._number += 1
        data = save({key: tensor.contiguous() for key, tensor in tensors.items()})
        description = {
            "digest": self._digest,
            "facts": facts,
            "tensors": xxhash.xxh3_128_hexdigest(data),
        }
        try:
            replace_file(self._path(self._number, "safetensors"), data)
            replace_file(self._path(self._number, "json"), sealed(description))
        except OSError as error:
            raise self._no_space(error) from error
        for number in self._numbers():
            if not self._number - _KEPT < number <= self._number:
                for suffix in ("json", "safetensors"):
                    with contextlib.suppress(OSError):
                        self._path(number, suffix).unlink()

    def _tensors(
        self, number: int, description: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Read the tensors if they are those that were written."""
        from safetensors.torch import load

        path = self._path(number, "safetensors")
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if xxhash.xxh3_128_hexdigest(data) == description["tensors"]:
                return load(data)
        raise mismatch(
            path, expected="what was written", found="other content", remedy=_REMEDY
        )

    def _path(self, number: int, suffix: str) -> Path:
        """Return the name of a file."""
        return self._folder / f"{number:08d}.{suffix}"

    def _numbers(self) -> set[int]:
        """List the checkpoints that there are, whole or not."""
        paths = [*self._folder.glob("*.json"), *self._folder.glob("*.safetensors")]
        return {int(path.stem) for path in paths if path.stem.isdecimal()}

    def _no_space(self, error: OSError) -> SpaceError:
        """Say that the folder cannot be written."""
        return SpaceError(
            f"{self._folder}: checkpoints cannot be written ({error.strerror}); make "
            "room or the folder writable, or choose another one"
        )
