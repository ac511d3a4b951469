"""What is wrong with the inputs of a track, all at once."""

from pathlib import Path
from typing import Any

import numpy as np

from merps.errors import MerpsError
from merps.tracks.media import MediaIndex
from merps.tracks.options import StreamConfig, TrackConfig
from merps.tracks.runs import wheels_of
from merps.tracks.sources import MEDIA, locate
from merps.tracks.tables import ClipTable, read_candidates, read_training


def check_track(config: TrackConfig) -> dict[str, Any]:
    """Look at tables, media, encoders and wheels, and say all that is wrong.

    Parameters
    ----------
    config : TrackConfig
        Options.

    Returns
    -------
    dict
        ``rows`` by table, ``coverage`` by table and stream, and ``problems``, each
        with ``severity``, ``where`` and ``message``.
    """
    from merps.tracks.encoders import require_encoder

    problems: list[dict[str, str]] = []

    def attempt(where: str, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except MerpsError as error:
            problems.append(
                {"severity": "error", "where": where, "message": str(error)}
            )
            return None

    data = config.data
    tables = {}
    if data.train:
        tables["train"] = attempt("train", read_training, config.track, data)
    if data.candidates:
        tables["candidates"] = attempt(
            "candidates", read_candidates, config.track, data
        )
    index = attempt("media", MediaIndex, [Path(root) for root in data.media])
    for name, stream in config.streams.items():
        attempt(f"stream {name}", require_encoder, stream)
    if config.track == "fg":
        attempt("wheels", wheels_of, config)
    found = {n: t for n, t in tables.items() if t is not None}
    coverage = {
        f"{table}/{name}": _coverage(rows, stream, index)
        for table, rows in found.items()
        for name, stream in config.streams.items()
    }
    for place, share in coverage.items():
        if share < 1:
            message = f"{share:.1%} of the rows have this stream"
            problems.append({"severity": "warning", "where": place, "message": message})
    return {
        "rows": {name: len(table) for name, table in found.items()},
        "coverage": coverage,
        "problems": problems,
    }


def _coverage(
    table: ClipTable, stream: StreamConfig, index: MediaIndex | None
) -> float:
    """Return the share of rows that have a stream, by what lies on the disk."""
    if stream.modality in MEDIA and stream.encoder and index is None:
        return 0.0
    parts = range(2 if stream.modality == "answers" else 1)
    found = [locate(table, stream, index, part) for part in parts]
    return float(np.mean([None not in places for places in zip(*found, strict=True)]))
