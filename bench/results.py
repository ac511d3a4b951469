"""Rows of measurements: what counts as met, and how they are printed."""

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGES = ("numpy", "scipy", "mne", "numba", "torch", "pyriemann", "braindecode")
_HEAD = ("row", "peer", "peer took", "merps took", "ratio", "goal", "error")
_HEAD += ("peak MB peer/merps", "verdict")


class Goal(NamedTuple):
    """What a value must reach, or must not exceed where it has to lie `below`."""

    limit: float
    stretch: float | None
    what: str
    below: bool = False


GOALS = {
    "G1": Goal(10, 15, "preprocess against the fastest MNE route"),
    "G2": Goal(18, 28, "preprocess against the route as labs write it"),
    "G3 MNE": Goal(30, 50, "the stages in process against MNE's"),
    "G3 SciPy": Goal(18, 29, "the stages in process against SciPy's"),
    "G4": Goal(2.5, 1.7, "preprocess over reading and writing the bytes", True),
    "G5 MNE": Goal(6, 8, "preprocess of compressed files against MNE"),
    "G5 inflate": Goal(1.25, 1.05, "the same over inflating the bytes", True),
    "G6": Goal(30, 40, "Vtp-Emotion's features"),
    "G7 float32": Goal(35, 80, "OAS covariances of 5 bands, float32"),
    "G7 float64": Goal(25, 80, "OAS covariances of 5 bands, float64"),
    "G8 fast": Goal(8, 15, "tangent space at 2e-4"),
    "G8 exact": Goal(4, 8, "tangent space at 1e-6"),
    "G9": Goal(8, None, "TDDR against MNE"),
    "people": Goal(10, None, "Riemannian evaluation that leaves people out"),
    "G10": Goal(4, 6, "training of a Shallow net"),
    "G11 version": Goal(0.15, None, "seconds of --version over bare Python", True),
    "G11 one video": Goal(1.0, 0.6, "seconds of preprocess, one 60 s video", True),
    "G12 peak": Goal(3, 5, "peak memory of MNE over that of merps"),
    "G12 flat": Goal(1.1, None, "peak memory of 8 people over that of 1", True),
    "growth": Goal(0.1, None, "seconds off a straight line over people", True),
}


@dataclass
class Row:
    """A line of the table: `peer` and `merps` are medians in `unit`, less is better.

    The goal is held against the ratio, or against `value` where one is given. A row
    whose `error` exceeds its `tolerance`, or is NaN, does not count.
    """

    what: str
    peer_name: str
    peer: float | None
    merps: float
    goal: str | None = None
    error: float | None = None
    tolerance: float = 0.0
    peer_mb: float | None = None
    merps_mb: float | None = None
    pairs: list[tuple[float, float]] = field(default_factory=list)
    value: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Peer over merps, or the inverse where a goal is not to be exceeded."""
        if self.peer is None:
            return None
        below = self.goal is not None and GOALS[self.goal].below
        return self.merps / self.peer if below else self.peer / self.merps

    @property
    def verdict(self) -> str:
        """Whether the numbers agree and, if they do, whether the goal is met."""
        if self.error is not None and not self.error <= self.tolerance:
            return "numbers differ"
        if self.goal is None:
            return ""
        goal, value = GOALS[self.goal], self.ratio if self.value is None else self.value
        # Turned round, so that more is better everywhere.
        sign = -1 if goal.below else 1
        if goal.stretch is not None and sign * value >= sign * goal.stretch:
            return "stretch"
        return "met" if sign * value >= sign * goal.limit else "missed"

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON files hold of the row."""
        return asdict(self) | {"ratio": self.ratio, "verdict": self.verdict}

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts, one a column of the table."""
        goal = error = memory = ratio = ""
        if self.goal is not None:
            sign = "<=" if GOALS[self.goal].below else ">="
            goal = f"{self.goal}: {sign} {GOALS[self.goal].limit:g}"
        if self.error is not None:
            error = f"{self.error:.1e} (<= {self.tolerance:g})"
        if self.peer_mb or self.merps_mb:
            sizes = (self.peer_mb, self.merps_mb)
            memory = "/".join(f"{size:.0f}" if size else "-" for size in sizes)
        if self.ratio is not None:
            ratio = f"{self.ratio:.3g}x"
        took = [
            "" if value is None else f"{value:.3g} {self.unit}"
            for value in (self.peer, self.merps)
        ]
        verdict = self.verdict
        return (self.what, self.peer_name, *took, ratio, goal, error, memory, verdict)


def table(rows: Sequence[Row]) -> str:
    """Lay rows out as aligned text, their notes below."""
    return _aligned([_HEAD, *(row.cells() for row in rows)]) + "".join(
        f"\n  {row.what}: {row.note}" for row in rows if row.note
    )


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Pad cells to columns, the measures flush right, with a rule below the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = [
            cell.rjust(width) if 2 <= k <= 4 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def relative_error(actual, expected) -> float:
    """Largest difference over the largest expected size; NaN must meet NaN."""
    import numpy as np

    actual, expected = np.asarray(actual), np.asarray(expected)
    there = ~np.isnan(expected)
    if actual.shape != expected.shape or (np.isnan(actual) == there).any():
        return math.inf
    difference = actual[there].astype(float) - expected[there]
    scale = np.abs(expected[there]).max(initial=0.0) or 1.0
    return float(np.abs(difference).max(initial=0.0) / scale)


def rms_error(actual, expected) -> float:
    """Root mean square difference over the root mean square of what is expected."""
    import numpy as np

    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    if actual.shape != expected.shape:
        return math.inf
    return float(np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2)))


def machine() -> dict[str, Any]:
    """Return the processor, the memory and the versions that figures depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if "model name" in x), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }
