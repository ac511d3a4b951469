"""Simulated recordings, made once and kept."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

_QUICK_VIDEO_S = (20, 25, 30)


def simulated(
    options: argparse.Namespace,
    *,
    people: int,
    eeg_rate_hz: int,
    compress: bool,
    video_s: Sequence[int] | None = None,
) -> Path:
    """Return a folder in the layout of MER-PS, made once, with its files in memory.

    A person at 1000 Hz takes 1 GB uncompressed and 15 seconds to make. ``--quick``
    shortens the 15 videos of 1,536 s to 3 of 75 s, and `video_s` sets other lengths.
    A folder with more people is used again: hard links share its files.
    """
    people = min(people, options.people or people)
    if video_s is None and options.quick:
        video_s = _QUICK_VIDEO_S
    kind = f"{eeg_rate_hz}{'c' if compress else 'u'}"
    if video_s is not None:
        kind += f"-{len(video_s)}x{sum(video_s)}s"
    folder = Path(options.data) / f"{people}x{kind}"
    if not folder.exists():
        found = (Path(options.data) / f"{n}x{kind}" for n in range(people + 1, 33))
        larger = next(filter(Path.exists, found), None)
        if larger is None:
            from merps import simulate_dataset

            print(f"making {folder} ...", file=sys.stderr)
            lengths = {} if video_s is None else {"video_s": video_s}
            simulate_dataset(
                folder,
                people=people,
                eeg_rate_hz=eeg_rate_hz,
                compress=compress,
                **lengths,
            )
        else:
            _share(larger, folder, people)
    warm(folder)
    return folder


def _share(larger: Path, folder: Path, people: int) -> None:
    """Link the files of the first people of a folder into another one."""
    names = [f"test_{k}" for k in range(1, people + 1)]
    owners = {*names, *(f"{name}_label.mat" for name in names)}

    def others(place: str, entries: list[str]) -> list[str]:
        inside = Path(place).name in ("data", "annotations")
        return [entry for entry in entries if inside and entry not in owners]

    shutil.copytree(larger, folder, ignore=others, copy_function=os.link)


def warm(folder: Path) -> int:
    """Read every file once, so that all runs find it in memory; return the bytes."""
    n_bytes = 0
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(2**24):
                n_bytes += len(chunk)
    return n_bytes
