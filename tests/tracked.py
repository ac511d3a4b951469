"""Toy inputs of the sibling tracks, and features in memory."""

import csv

import numpy as np
import xxhash

from merps.samples import Block
from merps.tracks.cache import FeatureArrays
from merps.tracks.clips import Clips
from merps.tracks.metrics import ew_of_overlaps, overlaps

#: Words and their sectors on five wheels; two of them share one on the last.
FORMS = {"glad": "gladly, 'gladder'", "glum": "[glumly]", "grin": "", "odd": "odder"}
SYNONYMS = {"glad": "[grin]", "glum": "", "odd": ""}
WHEELS = [
    [("up", "Up High ", "Glad"), (None, None, "glad"), ("down", "low", " glum")],
    [("up", "high", "glad"), ("down", "low", "glum")],
    [("up", "high", "glad"), ("down", "low", "glum")],
    [("up", "high", "glad"), ("down", "low", "glum")],
    [("all", "some", "glad"), (None, None, "glum")],
]
WHEELS[0].append(("side", "edge", "odd"))


def write_table(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_toy_wheels(folder):
    import openpyxl

    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "format.csv", ("name", "format"), FORMS.items())
    sheets = {"synonym.xlsx": [[], *([*pair] * 8 for pair in SYNONYMS.items())]}
    sheets["synonym.xlsx"][0] = [
        f"{kind}_run{k}" for k in range(1, 9) for kind in ("word", "synonym")
    ]
    for number, rows in enumerate(WHEELS, start=1):
        sheets[f"wheel{number}.xlsx"] = [("level1", "level2", "level3"), *rows]
    for name, rows in sheets.items():
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(list(row))
        book.save(folder / name)
    return folder


def ew_score(gold, said, wheels):
    return ew_of_overlaps(overlaps(gold, said, wheels))


def make_clips(features, labels, *, groups=None, pairs=None):
    """Rows of features by stream; an array a row, None where it is missing."""
    blocks, n = {}, len(labels)
    for name, arrays in {**features, **(pairs or {})}.items():
        there = [k for k in range(n) if arrays[k] is not None]
        rows = np.full(n, -1)
        rows[there] = np.arange(len(there))
        source = FeatureArrays(
            np.atleast_2d(np.asarray(arrays[k], np.float32)) for k in there
        )
        blocks[name] = Block(source, rows)
    keys = [
        xxhash.xxh3_64_hexdigest(
            repr(
                [
                    None if a[k] is None else np.asarray(a[k]).tobytes()
                    for a in {**features, **(pairs or {})}.values()
                ]
                + [labels[k]]
            ).encode()
        )
        for k in range(n)
    ]
    return Clips(blocks, tuple(keys), tuple(groups or keys), tuple(labels))
