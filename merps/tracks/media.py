"""Video, audio and face crops of clips, found by name and decoded by FFmpeg."""

import io
import logging
import os
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from merps.errors import DataError, mismatch
from merps.predictions import name_some
from merps.tracks.extras import require_extra

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["video", "audio", "face"]
#: Frames of a clip: red, green and blue.
Frames: TypeAlias = UInt8[np.ndarray, "frame height width 3"]

AUDIO_RATE_HZ = 16_000
_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys((".mp4", ".avi", ".mkv", ".mov", ".webm"), "video"),
    **dict.fromkeys((".wav", ".flac", ".mp3", ".m4a", ".ogg"), "audio"),
    ".npy": "face",
}
_REPLACE = "replace it by a good copy, or leave the clip out of the table"


class MediaIndex:
    """Files of clips by name, over trees of any shape.

    Parameters
    ----------
    roots : sequence of Path
        Folders, each searched to its leaves once; links to folders are followed.

    Raises
    ------
    DataError
        If a root is no folder.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self._paths: dict[tuple[Kind, str], Path] = {}
        twice = []
        for root in self.roots:
            if not root.is_dir():
                raise mismatch(
                    root,
                    expected="a folder of media",
                    found="a file" if root.exists() else "no such folder",
                    remedy="correct data.media in the configuration",
                )
            for folder, folders, files in os.walk(root, followlinks=True):
                folders.sort()
                for name in sorted(files):
                    kind = _SUFFIXES.get(Path(name).suffix.lower())
                    key = (kind, Path(name).stem)
                    path = Path(folder, name)
                    if kind and self._paths.setdefault(key, path) != path:
                        twice.append(name)
        if twice:
            logger.warning(
                "%d media files are there twice, the first is used: %s",
                len(twice),
                name_some(twice),
            )

    def find(self, name: str, kind: Kind) -> Path | None:
        """Return the file of a clip; audio may be the sound of its video.

        Parameters
        ----------
        name : str
            Name of the clip.
        kind : str
            ``video``, ``audio`` or ``face``.

        Returns
        -------
        Path or None
            None where there is none.
        """
        found = self._paths.get((kind, name))
        if found is None and kind == "audio":
            found = self._paths.get(("video", name))
        return found


def read_frames(path: Path, *, count: int) -> Frames:
    """Decode frames that are spread evenly over a video.

    Parameters
    ----------
    path : Path
        A file that FFmpeg reads.
    count : int
        How many; frames repeat where the video has fewer.

    Returns
    -------
    ndarray of uint8, shape (frame, height, width, 3)
        Red, green, blue.

    Raises
    ------
    DataError
        If the file is damaged or has no frame.
    """
    with _opened(path, "video") as (container, stream):
        n_frames = sum(1 for _ in container.decode(stream))
    if not n_frames:
        raise mismatch(path, expected="frames", found="none", remedy=_REPLACE)
    wanted = spread(n_frames, count)
    last = set(wanted.tolist())
    with _opened(path, "video") as (container, stream):
        kept = {
            number: frame.to_ndarray(format="rgb24")
            for number, frame in enumerate(container.decode(stream))
            if number in last
        }
    return np.stack([kept[number] for number in wanted.tolist()])


def read_audio(
    path: Path, *, rate_hz: int = AUDIO_RATE_HZ
) -> Float32[np.ndarray, " time"]:
    """Decode sound, mixed to one channel and resampled.

    Parameters
    ----------
    path : Path
        A file that FFmpeg reads, also a video.
    rate_hz : int
        Sampling rate of the result, in hertz.

    Returns
    -------
    ndarray of float32, shape (time,)
        From -1 to 1.

    Raises
    ------
    DataError
        If the file is damaged or has no sound.
    """
    av = require_extra("av", "av", why="to decode audio")
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    with _opened(path, "audio") as (container, stream):
        pieces = [
            piece.to_ndarray().reshape(-1)
            for frame in (*container.decode(stream), None)
            for piece in resampler.resample(frame)
        ]
    sound = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    if not sound.size:
        raise mismatch(path, expected="sound", found="none", remedy=_REPLACE)
    return sound.astype(np.float32)


def as_wav(
    sound: Float32[np.ndarray, " time"], *, rate_hz: int = AUDIO_RATE_HZ
) -> bytes:
    """Return the bytes of a WAV file of one channel and 16 bit."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def read_faces(path: Path, *, colors: str, count: int | None = None) -> Frames:
    """Read the aligned face crops of a clip.

    Parameters
    ----------
    path : Path
        A ``.npy`` file of uint8, shape (frame, height, width, 3).
    colors : str
        ``bgr`` or ``rgb``, as they are stored.
    count : int, optional
        Frames that are taken, evenly spread; all of them if absent.

    Returns
    -------
    ndarray of uint8, shape (frame, height, width, 3)
        Red, green, blue.

    Raises
    ------
    DataError
        If the file holds anything else; nothing in it is ever executed.
    """
    stored = read_array(path)
    if stored.dtype != np.uint8 or stored.ndim != 4 or stored.shape[3] != 3:
        raise mismatch(
            path,
            expected="uint8 of shape (frame, height, width, 3)",
            found=f"{stored.dtype} of shape {stored.shape}",
            remedy=_REPLACE,
        )
    if not len(stored):
        raise mismatch(path, expected="face crops", found="none", remedy=_REPLACE)
    chosen = stored if count is None else stored[spread(len(stored), count)]
    return np.ascontiguousarray(chosen[..., ::-1] if colors == "bgr" else chosen)


def read_array(path: Path) -> np.ndarray:
    """Map a ``.npy`` file of plain numbers.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray
        Read from the disk as it is used.

    Raises
    ------
    DataError
        If it cannot be read, or holds Python objects.
    """
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise mismatch(
            path,
            expected="an array of numbers in the format npy",
            found=f"{error}"[:120],
            remedy=_REPLACE,
        ) from error


def spread(n_there: int, count: int) -> np.ndarray:
    """Choose positions that are spread evenly.

    Parameters
    ----------
    n_there : int
        How many there are, at least one.
    count : int
        How many are wanted; some come twice where fewer are there.

    Returns
    -------
    ndarray of int64, shape (count,)
        Ascending.
    """
    return np.rint(np.linspace(0, n_there - 1, count)).astype(np.int64)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, Any]]:
    """Open the first stream of one kind; any failure of FFmpeg is a `DataError`."""
    av = require_extra("av", "av", why=f"to decode {kind}")
    try:
        with av.open(str(path)) as container:
            stream = next((s for s in container.streams if s.type == kind), None)
            if stream is None:
                raise mismatch(
                    path, expected=f"{kind} in it", found="none", remedy=_REPLACE
                )
            stream.thread_type = "NONE"  # one thread, and frames in order
            yield container, stream
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(
            f"{path}: cannot be decoded ({error.strerror or error}); {_REPLACE}"
        ) from error
