"""Bytes of a memory-mapped file in order, as they are or inflated as needed."""

import mmap

import numpy as np
from jaxtyping import UInt8
from zlib_ng import zlib_ng

from merps.errors import DataError

#: Deflate writes at most 258 bytes with two bits.
DEFLATE_RATIO = 1032
# What is taken and given at a time stays in the cache of one core.
_INPUT_BYTES = 2**16
_OUTPUT_BYTES = 2**18


class DamageError(DataError):
    """Why one variable cannot be read; the file it lies in is named by the caller."""


class PlainStream:
    """Bytes of an element that lies in the file as it is."""

    def __init__(self, source: mmap.mmap, start: int, end: int) -> None:
        self._bytes = memoryview(source)[start:end]
        self.at = start

    def up_to(self, n_bytes: int) -> bytes:
        """Return the next bytes, fewer where the element ends."""
        return bytes(self.take(min(n_bytes, len(self._bytes))))

    def take(self, n_bytes: int) -> memoryview:
        """Return exactly that many of the next bytes, which were seen to exist."""
        taken, self._bytes = self._bytes[:n_bytes], self._bytes[n_bytes:]
        self.at += n_bytes
        return taken

    def fill(self, out: UInt8[np.ndarray, " n"]) -> None:
        """Write the next bytes, which were seen to exist."""
        out[:] = np.frombuffer(self.take(out.size), np.uint8)

    def finish(self, n_bytes: int) -> None:
        """Pass over the padding at the end."""
        self.take(n_bytes)


class InflatedStream:
    """Bytes of a compressed element, never more than asked for in memory."""

    def __init__(self, source: mmap.mmap, start: int, end: int) -> None:
        self._source = source
        self.at = start
        self._end = end
        self._inflater = zlib_ng.decompressobj()

    def up_to(self, n_bytes: int) -> bytes:
        """Return the next bytes, fewer where the stream or what is there of it ends."""
        pieces, missing = [], n_bytes
        while missing and (piece := self._inflate(missing)):
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def take(self, n_bytes: int) -> bytes:
        """Return exactly that many of the next bytes."""
        taken = self.up_to(n_bytes)
        if len(taken) < n_bytes:
            raise self._too_short()
        return taken

    def fill(self, out: UInt8[np.ndarray, " n"]) -> None:
        """Write exactly as many of the next bytes as fit."""
        done = 0
        while done < out.size:
            piece = self._inflate(min(out.size - done, _OUTPUT_BYTES))
            if not piece:
                raise self._too_short()
            out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)

    def finish(self, n_bytes: int) -> None:
        """Pass over the padding and make sure that the stream ends there, intact."""
        self.take(n_bytes)
        if self._inflate(1):
            raise DamageError("it inflates to more than it declares")
        if not self._inflater.eof:
            raise DamageError("its compressed data end early")
        left = (
            self._inflater.unused_data
            + self._source[self.at : min(self.at + 8, self._end)]
        )
        if len(left) >= 8 or any(left):
            raise DamageError("something follows its compressed data")

    def _too_short(self) -> DamageError:
        """Say why there are no more bytes."""
        if self._inflater.eof:
            return DamageError("it inflates to less than it declares")
        return DamageError("its compressed data end early")

    def _inflate(self, limit: int) -> bytes:
        """Return the next bytes, at least one unless the stream or its input ends."""
        while not self._inflater.eof:
            given = self._inflater.unconsumed_tail
            if not given:
                stop = min(self.at + _INPUT_BYTES, self._end)
                given, self.at = self._source[self.at : stop], stop
            try:
                inflated = self._inflater.decompress(given, limit)
            except zlib_ng.error as error:
                raise DamageError(
                    f"its compressed data are damaged ({error})"
                ) from error
            if inflated or not given:
                return inflated
        return b""
