"""What is to be encoded of a row: a file of media, a text, or features as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from merps.errors import mismatch
from merps.tracks.media import MediaIndex, read_audio, read_faces, read_frames
from merps.tracks.options import StreamConfig
from merps.tracks.tables import ClipTable

#: Modalities that are read from files of media.
MEDIA = ("face", "video", "audio")
#: Blocks of the two texts of a row of MER-Prefer.
PAIR = ("a1", "a2")


def locate(
    table: ClipTable, stream: StreamConfig, index: MediaIndex | None, part: int
) -> list[Path | str | None]:
    """Return what is to be encoded for each row.

    Parameters
    ----------
    table : ClipTable
        The rows.
    stream : StreamConfig
        What is taken from them.
    index : MediaIndex, optional
        Needed where a file is to be encoded.
    part : int
        Which of the two texts, for answers.

    Returns
    -------
    list of Path, str or None
        A file, a text, or nothing.

    Raises
    ------
    DataError
        If a folder of features is not there.
    """
    if stream.modality == "answers":
        return [pair[part].strip() or None for pair in table.pairs]
    if stream.features is not None:
        folder = Path(stream.features)
        if not folder.is_dir():
            raise mismatch(
                folder,
                expected="a folder of features, one .npy a clip",
                found="no such folder",
                remedy="correct the stream in the configuration",
            )
        paths = [folder / f"{name}.npy" for name in table.names]
        return [path if path.is_file() else None for path in paths]
    if stream.modality == "text":
        return [text.strip() or None for text in table.subtitles]
    return [index.find(name, stream.modality) for name in table.names]


def taker(stream: StreamConfig) -> Callable[[Any], Any]:
    """Return what makes the encoder's input from a file or a text.

    Parameters
    ----------
    stream : StreamConfig
        Modality, frames and colors.

    Returns
    -------
    callable
        Takes what `locate` found.
    """
    if stream.modality == "face":
        return lambda path: read_faces(path, colors=stream.colors, count=stream.frames)
    if stream.modality == "video":
        return lambda path: read_frames(path, count=stream.frames)
    return read_audio if stream.modality == "audio" else str
