"""The rows of a table with their features: encoded once, named by their content."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from merps.engine import Progress, Silence, run_tasks
from merps.errors import DataError, MerpsError
from merps.predictions import name_some
from merps.samples import Block
from merps.store import FileDigests
from merps.store.files import replace_file, writing
from merps.tracks.cache import (
    FeatureArrays,
    FeatureCache,
    as_npy,
    open_store,
    read_features,
)
from merps.tracks.media import MediaIndex
from merps.tracks.options import StreamConfig, TrackConfig
from merps.tracks.sources import MEDIA, PAIR, locate, taker
from merps.tracks.tables import ClipTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clips:
    """Rows with features and labels; neither names nor order of the rows count.

    Parameters
    ----------
    blocks : mapping of str to Block
        Features by stream, and of the two texts by `PAIR`; -1 where a row has none.
    keys : tuple of str
        Digest of all that a row holds.
    groups : tuple of str
        What must not be in both parts of a fold, named by content.
    labels : tuple, optional
        As in the table.
    """

    blocks: Mapping[str, Block]
    keys: tuple[str, ...] = field(repr=False)
    groups: tuple[str, ...] = field(repr=False)
    labels: tuple[Any, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Clips":
        """Return some rows, in the order given.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Returns
        -------
        Clips
            A new table.
        """
        rows = np.asarray(rows, dtype=np.int64)
        return Clips(
            {name: Block(b.source, b.rows[rows]) for name, b in self.blocks.items()},
            tuple(self.keys[row] for row in rows),
            tuple(self.groups[row] for row in rows),
            None if self.labels is None else tuple(self.labels[row] for row in rows),
        )

    def order(self) -> np.ndarray:
        """Return the order of rows that depends on nothing but their content.

        Returns
        -------
        ndarray of int64, shape (row,)
            Row numbers.
        """
        return np.array(sorted(range(len(self)), key=self.keys.__getitem__), np.int64)


class Growing:
    """Progress of work whose parts are found one after the other.

    Parameters
    ----------
    progress : Progress, optional
        Told of all parts together.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._total = progress or Silence(), 0

    def expect(self, total: int) -> None:
        """Say how many steps another part has."""
        self._total += total
        self._progress.expect(self._total)

    def done(self, unit: str) -> None:
        """Count one step."""
        self._progress.done(unit)


@dataclass(frozen=True)
class Encoded:
    """What `encode_table` found.

    Parameters
    ----------
    clips : Clips
        The rows of the table, in its order.
    done, skipped : int
        Contents that were encoded now, and before.
    missing : list of (str, str, str)
        Stream, clip and reason, where a row lacks a stream that it should have.
    """

    clips: Clips
    done: int
    skipped: int
    missing: list[tuple[str, str, str]]

    def require(self, most: float) -> None:
        """Refuse to go on where too much is missing.

        Parameters
        ----------
        most : float
            Largest share of the rows that may lack a stream.

        Raises
        ------
        DataError
            If a stream lacks more.
        """
        n_rows = len(self.clips)
        for stream in dict.fromkeys(stream for stream, _, _ in self.missing):
            lacking = [(c, why) for s, c, why in self.missing if s == stream]
            if len(lacking) > most * n_rows:
                some = name_some(f"{clip} ({why})" for clip, why in lacking)
                raise DataError(
                    f"stream {stream}: {len(lacking)} of {n_rows} rows are missing, "
                    f"more than the share {most:g} that may be: {some}; add the files, "
                    "or raise data.max_missing (data.max_missing_train)"
                )
        if self.missing:
            logger.warning("%d streams of rows are missing", len(self.missing))


def encode_table(
    table: ClipTable,
    config: TrackConfig,
    *,
    streams: Mapping[str, StreamConfig],
    jobs: int = 2,
    progress: Progress | None = None,
) -> Encoded:
    """Encode what is not encoded yet, and return the rows with their features.

    Parameters
    ----------
    table : ClipTable
        The rows.
    config : TrackConfig
        Where media and the store are.
    streams : mapping of str to StreamConfig
        What is taken from each clip.
    jobs : int
        Clips at a time; changes nothing in the result.
    progress : Progress, optional
        Told of each content that is encoded; `Growing`, if it is told of more.

    Returns
    -------
    Encoded
        Features, counts, and what is missing.

    Raises
    ------
    DataError
        If an encoder, a folder of features or a root of media is not there.
    InputError
        If a library is not installed.
    SpaceError
        If the store cannot be written.
    """
    from merps.tracks.encoders import require_encoder

    for stream in streams.values():  # before anything is decoded
        require_encoder(stream)
    store = open_store(Path(config.store))
    progress = progress if isinstance(progress, Growing) else Growing(progress)
    index = None
    if any(s.modality in MEDIA and s.encoder for s in streams.values()):
        index = MediaIndex([Path(root) for root in config.data.media])
    blocks: dict[str, Block] = {}
    contents: dict[str, list[str | None]] = {}
    missing: list[tuple[str, str, str]] = []
    n_done = n_skipped = 0
    with FileDigests(store, root=Path("/")) as digests:
        for name, stream in streams.items():
            parts = PAIR if stream.modality == "answers" else (name,)
            found = [locate(table, stream, index, part) for part in range(len(parts))]
            places = [place for places in found for place in places]
            job = _Job(stream, store, digests, jobs, progress)
            arrays, keys = job.run(places)
            n_done, n_skipped = n_done + job.n_done, n_skipped + job.n_skipped
            rows = {key: k for k, key in enumerate(arrays)}
            source = FeatureArrays(arrays.values())
            for k, part in enumerate(parts):
                contents[part] = keys[k * len(table) : (k + 1) * len(table)]
                numbers = [rows.get(key, -1) for key in contents[part]]
                blocks[part] = Block(source, np.array(numbers, dtype=np.int64))
            for place, clip in zip(places, table.names * len(parts), strict=True):
                why = job.reasons.get(place, "no file" if place is None else "")
                if why and (stream.modality in MEDIA or stream.features):
                    missing.append((name, clip, why))
    clips = _named(table, blocks, contents)
    return Encoded(clips, n_done, n_skipped, missing)


def export_features(
    table: ClipTable, clips: Clips, streams: Mapping[str, StreamConfig], out: Path
) -> int:
    """Write features as the official code reads them.

    Parameters
    ----------
    table : ClipTable
        Names of the rows.
    clips : Clips
        Their features.
    streams : mapping of str to StreamConfig
        Which ones; the texts of MER-Prefer have no official form and are left out.
    out : Path
        Gets ``<stream>-UTT`` or ``<stream>-FRA`` with a file for each clip.

    Returns
    -------
    int
        How many files were written.

    Raises
    ------
    SpaceError
        If they cannot be written.
    """
    n_files = 0
    for name, stream in streams.items():
        if stream.modality == "answers":
            continue
        utterance = stream.pool == "utterance"
        folder = out / f"{name}-{'UTT' if utterance else 'FRA'}"
        block = clips.blocks[name]
        with writing(folder, needed_bytes=0):
            folder.mkdir(parents=True, exist_ok=True)
            for clip, row in zip(table.names, block.rows, strict=True):
                if row >= 0:
                    steps = block.source.gather(np.array([row]))[0].T
                    data = as_npy(
                        steps[0] if utterance else np.ascontiguousarray(steps)
                    )
                    replace_file(folder / f"{clip}.npy", data)
                    n_files += 1
    return n_files


class _Job:
    """The encoding of one stream."""

    def __init__(
        self,
        stream: StreamConfig,
        store: Path,
        digests: FileDigests,
        jobs: int,
        progress: Progress,
    ) -> None:
        self._stream, self._store, self._digests = stream, store, digests
        self._jobs, self._progress = jobs, progress
        self.n_done = self.n_skipped = 0
        self.reasons: dict[Path | str, str] = {}

    def run(
        self, places: Sequence[Path | str | None]
    ) -> tuple[dict[str, np.ndarray], list[str | None]]:
        """Return the features of each content, and the content of each place."""
        content_of: dict[Path | str, str] = {}
        for place in dict.fromkeys(p for p in places if p is not None):
            try:
                content_of[place] = self._digest(place)
            except DataError as error:
                self.reasons[place] = str(error)
        first: dict[str, Path | str] = {}
        for place, content in content_of.items():
            first.setdefault(content, place)
        arrays = self._read(first) if self._stream.features else self._encode(first)
        keys = [content_of.get(p) if p is not None else None for p in places]
        return arrays, [key if key in arrays else None for key in keys]

    def _digest(self, place: Path | str) -> str:
        """Name what is to be encoded by its content."""
        if isinstance(place, Path):
            return self._digests.digest(place)
        return xxhash.xxh3_128_hexdigest(place.encode())

    def _read(self, places: Mapping[str, Path]) -> dict[str, np.ndarray]:
        """Read features that are there."""
        arrays = {}
        for content, path in places.items():
            try:
                arrays[content] = read_features(path)
                self.n_skipped += 1
            except DataError as error:
                self.reasons[path] = str(error)
        return arrays

    def _encode(self, places: Mapping[str, Path | str]) -> dict[str, np.ndarray]:
        """Encode what the cache lacks, and read all of it."""
        from merps.models.determinism import torch_settings
        from merps.tracks.encoders import describe_encoder, load_encoder, pool_steps

        stream = self._stream
        cache = FeatureCache(self._store, describe_encoder(stream))
        read = {content: cache.read(content) for content in places}
        arrays = {c: array for c, array in read.items() if array is not None}
        self.n_skipped = len(arrays)
        lacking = [content for content in places if content not in arrays]
        if lacking:
            encoder = load_encoder(stream)
            take = taker(stream)

            def encode(content: str) -> np.ndarray:
                steps = encoder.encode(take(places[content]))
                features = pool_steps(steps, stream.pool)
                cache.write(content, features)
                return features

            self._progress.expect(len(lacking))
            # One thread an operation: results do not depend on the number of jobs.
            with torch_settings(device=stream.device, threads=1, seed=0):
                for done in run_tasks(encode, lacking, jobs=self._jobs):
                    if isinstance(done.error, DataError):
                        self.reasons[places[done.task]] = _short(done.error)
                    elif done.error is not None:
                        raise done.error
                    else:
                        arrays[done.task] = done.value
                        self.n_done += 1
                    self._progress.done(stream.modality)
        return {c: arrays[c] for c in places if c in arrays and len(arrays[c])}


def _named(
    table: ClipTable,
    blocks: Mapping[str, Block],
    contents: Mapping[str, Sequence[str | None]],
) -> Clips:
    """Name rows and groups by their content, so that nothing depends on names."""

    def digest(*parts: Any) -> str:
        return xxhash.xxh3_128_hexdigest(repr(parts).encode())

    own = [name for name in contents if name not in PAIR]
    clip_keys = [
        digest(*(contents[name][row] for name in own)) for row in range(len(table))
    ]
    first: dict[str, str] = {}
    for group, key in zip(table.groups, clip_keys, strict=True):
        first[group] = min(first.get(group, key), key)
    pairs = [
        [contents[name][row] for name in PAIR if name in contents]
        for row in range(len(table))
    ]
    labels = table.labels or (None,) * len(table)
    return Clips(
        blocks=blocks,
        keys=tuple(map(digest, clip_keys, pairs, labels)),
        groups=tuple(first[group] for group in table.groups),
        labels=table.labels,
    )


def _short(error: MerpsError) -> str:
    """Return the first words of an error, for a table."""
    return str(error).splitlines()[0][:200]
