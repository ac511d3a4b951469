"""Bytes of a memory-mapped file in order, as they are or inflated as needed."""

import mmap
import zlib

from merps.errors import DataError

#: Deflate writes at most 258 bytes with two bits.
DEFLATE_RATIO = 1032
_INPUT_BYTES = 2**16  # compressed, taken at a time


class DamageError(DataError):
    """Why one variable cannot be read; the file it lies in is named by the caller."""


class PlainStream:
    """Bytes of an element that lies in the file as it is."""

    def __init__(self, source: mmap.mmap, start: int, end: int) -> None:
        self._bytes = memoryview(source)[start:end]

    def up_to(self, n_bytes: int) -> bytes:
        """Return the next bytes, fewer where the element ends."""
        return bytes(self.take(min(n_bytes, len(self._bytes))))

    def take(self, n_bytes: int) -> memoryview:
        """Return exactly that many of the next bytes, which were seen to exist."""
        taken, self._bytes = self._bytes[:n_bytes], self._bytes[n_bytes:]
        return taken

    def finish(self, n_bytes: int) -> None:
        """Pass over the padding at the end."""
        self.take(n_bytes)


class InflatedStream:
    """Bytes of a compressed element, never more than asked for in memory."""

    def __init__(self, source: mmap.mmap, start: int, end: int) -> None:
        self._source = source
        self._at = start
        self._end = end
        self._zlib = zlib.decompressobj()

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
        if len(taken) == n_bytes:
            return taken
        if self._zlib.eof:
            raise DamageError("it inflates to less than it declares")
        raise DamageError("its compressed data end early")

    def finish(self, n_bytes: int) -> None:
        """Pass over the padding and make sure that the stream ends there, intact."""
        self.take(n_bytes)
        if self._inflate(1):
            raise DamageError("it inflates to more than it declares")
        if not self._zlib.eof:
            raise DamageError("its compressed data end early")
        left = self._zlib.unused_data + self._source[self._at : self._end][:8]
        if len(left) >= 8 or any(left):
            raise DamageError("something follows its compressed data")

    def _inflate(self, limit: int) -> bytes:
        """Return the next bytes, at least one unless the stream or its input ends."""
        while not self._zlib.eof:
            given = self._zlib.unconsumed_tail
            if not given:
                stop = min(self._at + _INPUT_BYTES, self._end)
                given, self._at = self._source[self._at : stop], stop
            try:
                inflated = self._zlib.decompress(given, limit)
            except zlib.error as error:
                raise DamageError(
                    f"its compressed data are damaged ({error})"
                ) from error
            if inflated or not given:
                return inflated
        return b""
