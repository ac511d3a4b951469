"""What any program must do: read or inflate every byte, write and sync the result."""

import mmap
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_CHUNK_BYTES = 2**18
_PART_BYTES = 2**26
_MI_COMPRESSED = 15


def read_and_write(data: Path, out: Path, sizes: Sequence[int]) -> None:
    """Touch the bytes of all .mat files, then write so many files, on 2 threads.

    Nothing is computed, and reads and writes do not overlap.
    """
    parts = [part for path in sorted(data.rglob("*.mat")) for part in parts_of(path)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: touch(*part), parts))
        list(pool.map(write_synced, (out / str(k) for k in range(len(sizes))), sizes))


def parts_of(path: Path) -> list[tuple[Path, int, int, bool]]:
    """Cut a file into parts to be read: compressed variables, or equal spans."""
    size = path.stat().st_size
    parts, start = [], 128
    with open(path, "rb") as file:
        while start < size:
            file.seek(start)
            kind, length = np.frombuffer(file.read(8), "<u4").tolist()
            if kind != _MI_COMPRESSED:
                starts = range(0, size, _PART_BYTES)
                return [(path, at, min(at + _PART_BYTES, size), False) for at in starts]
            parts.append((path, start + 8, start + 8 + length, True))
            start += 8 + length
    return parts


def touch(path: Path, start: int, stop: int, compressed: bool) -> None:
    """Touch every byte of a part, inflated if it is compressed."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        if not compressed:
            words = np.frombuffer(mapped, np.uint64, (stop - start) // 8, start)
            np.bitwise_or.reduce(words)
            del words
            return
        stream = inflater()[1]()
        with memoryview(mapped) as whole:
            for at in range(start, stop, _CHUNK_BYTES):
                stream.decompress(whole[at : min(at + _CHUNK_BYTES, stop)])


def inflater() -> tuple[str, Callable]:
    """Return the fastest inflate that is installed, by name and as a stream."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return "zlib", zlib.decompressobj
    return "zlib-ng", zlib_ng.decompressobj


def write_synced(path: Path, size: int) -> None:
    """Write so many bytes to the disk."""
    with open(path, "wb", buffering=0) as file:
        block = bytes(_CHUNK_BYTES * 16)
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        os.fsync(file.fileno())
