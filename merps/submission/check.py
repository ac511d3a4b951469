"""The check of a submission: unpacked and run alone, and held against merps predict."""

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import numpy as np

from merps.datasets.mer_ps import open_dataset
from merps.datasets.side_files import SAMPLE_IDS
from merps.datasets.simulate import simulate_dataset
from merps.engine import Progress, Silence
from merps.errors import DataError, mismatch
from merps.pipeline.predict import predict_dataset
from merps.predictions import match_predictions, name_some, read_predictions
from merps.store.files import writing
from merps.submission.archive import REMEDY, unpack

logger = logging.getLogger(__name__)

ENTRY, REQUIREMENTS, CONTENTS = "model.py", "requirements.txt", "manifest.json"

_PREDICTIONS = "predictions.csv"
_PRACTICE_S = (8, 6, 7)  # seconds of each video
_ABSENT_VIDEO_S = 5
# Where a caller keeps things, and what changes Python itself.
_PERSONAL = re.compile(r"HOME|TMPDIR|TEMP|TMP|(PYTHON|XDG_|MERPS_|NUMBA_).*")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A submission that has passed its check.

    Parameters
    ----------
    path : Path
        The zip file.
    bytes : int
        Its size.
    sha256 : str
        Its digest.
    files : int
        How many files are in it.
    model : str
        Name of the model.
    contains : tuple of str
        What it holds of the training data, in words.
    terms : str
        Terms of the training data.
    warning : str or None
        What has to be said of how the model was fitted.
    requirements : tuple of str
        Libraries and versions that it asks for.
    simulated : bool
        Whether the check made up its recordings.
    samples : int
        Ids answered in the check.
    seconds : float
        How long that took in a new process, imports and compilation included.
    peak_mb : float
        Peak resident memory of that process in megabytes.
    merps : str
        Where that process had imported merps from, in the unpacked submission.
    """

    path: Path
    bytes: int
    sha256: str
    files: int
    model: str
    contains: tuple[str, ...]
    terms: str
    warning: str | None
    requirements: tuple[str, ...]
    simulated: bool
    samples: int
    seconds: float
    peak_mb: float
    merps: str

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``merps submit --json`` prints."""
        rounded = {"seconds": round(self.seconds, 3), "peak_mb": round(self.peak_mb, 1)}
        return {**asdict(self), "path": str(self.path), **rounded}


def check_bundle(
    path: Path | str,
    data: Path | str | None = None,
    *,
    name: Path | str | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Bundle:
    """Unpack a submission, run it alone, and compare it with `predict_dataset`.

    It runs in a new process where merps can only come from the submission, no library
    can be imported that its requirements do not bring, there is no network and no
    home, its folder cannot be written, and the current folder is another one.
    This executes what is in the file: check your own.

    Parameters
    ----------
    path : Path
        What `write_bundle` wrote.
    data : Path, optional
        Recordings to answer, as for `predict_dataset`. If absent, three people are
        simulated: one without fNIRS, one without EEG, one of whom a video is asked for
        that is missing, and all without labels.
    name : Path, optional
        What the file is to be called; its path if absent.
    jobs : int
        Trials at once where the answers are computed again; the submission decides for
        itself.
    progress : Progress, optional
        Told of each step.

    Returns
    -------
    Bundle
        What the file is, and how long and how large the run was.

    Raises
    ------
    DataError
        If the file is no submission, is damaged or hostile, cannot run alone, leaves
        anything but ``predictions.csv`` behind, or does not answer every id once with
        the very numbers of `predict_dataset`.
    SpaceError
        If there is no room to unpack it.
    """
    path, progress = Path(path), progress or Silence()
    name = path if name is None else Path(name)
    progress.expect(3)
    with _private_folder() as private:
        folders = {n: private / n for n in ("bundle", "out", "tmp", "elsewhere")}
        for folder in folders.values():
            folder.mkdir(mode=0o700)
        bundle = folders["bundle"]
        names = unpack(path, bundle)
        manifest = _read_contents(name, bundle, names)
        simulated = data is None
        data = _practice(private / "data") if data is None else Path(data).resolve()
        progress.done("unpacked")
        with _read_only(bundle):
            report = _run_alone(name, data, folders)
        progress.done("answered alone")
        if left := _left_behind(folders, names):
            raise DataError(f"{name}: it leaves {name_some(left)} behind")
        again = private / "again.csv"
        with _quiet() if simulated else nullcontext():
            predicted = predict_dataset(bundle / "run", data, again, jobs=jobs)
        asked = open_dataset(data).sample_ids() or list(predicted.ids)
        _compare(name, folders["out"] / _PREDICTIONS, again, asked)
        progress.done("answered again")
        content = path.read_bytes()
        return Bundle(
            path=name,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            files=len(names),
            model=manifest["model"],
            contains=tuple(manifest["contains"]),
            terms=manifest["terms"],
            warning=manifest["warning"],
            requirements=tuple(manifest["requirements"]),
            simulated=simulated,
            samples=len(asked),
            seconds=report["seconds"],
            peak_mb=report["peak_mb"],
            merps=str(Path(report["merps"]).relative_to(bundle)),
        )


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a folder of this user alone, and remove it afterwards."""
    with writing(Path(tempfile.gettempdir()), needed_bytes=0):
        folder = tempfile.TemporaryDirectory(prefix="merps-submit-")
    with folder as name:
        yield Path(name).resolve()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what is said of missing parts that are missing on purpose."""
    parent = logging.getLogger("merps.pipeline")
    level = parent.level
    parent.setLevel(logging.ERROR)
    try:
        yield
    finally:
        parent.setLevel(level)


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder for a while."""
    inside = [path for path in folder.rglob("*") if path.is_dir()]
    try:
        for path in (folder, *inside):
            path.chmod(0o500)
        yield
    finally:
        for path in (folder, *inside):
            path.chmod(0o700)


def _read_contents(path: Path, bundle: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return the manifest of an unpacked submission if it fits the files."""
    try:
        manifest = json.loads((bundle / CONTENTS).read_text(encoding="utf-8"))
        expected = {name: fact["sha256"] for name, fact in manifest["files"].items()}
        kinds = {"model": str, "terms": str, "contains": list, "requirements": list}
        wrong = [n for n, kind in kinds.items() if not isinstance(manifest[n], kind)]
        if not isinstance(manifest["warning"], str | None):
            wrong.append("warning")
        if wrong:
            raise ValueError(f"an unusual {name_some(wrong)}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise mismatch(
            path,
            expected=f"a submission with its {CONTENTS}",
            found=str(error)[:200] or type(error).__name__,
            remedy=REMEDY,
        ) from error
    found = {
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        for name in names
        if name != CONTENTS
    }
    differing = sorted(
        n for n in {*expected, *found} if expected.get(n) != found.get(n)
    )
    if differing or ENTRY not in found:
        raise mismatch(
            path,
            expected=f"the files that its {CONTENTS} names, with {ENTRY}",
            found=f"others: {name_some(n[:80] for n in differing or [ENTRY])}",
            remedy=REMEDY,
        )
    return manifest


def _practice(folder: Path) -> Path:
    """Simulate people of whom something is missing, as a leaderboard hands them out."""
    simulate_dataset(folder, people=3, layout="leaderboard", video_s=_PRACTICE_S)
    shutil.rmtree(folder / "annotations")
    (folder / "targets.csv").unlink()
    for person, part in (("predict2", "fNIRS"), ("predict3", "EEG")):
        for path in (folder / "data" / person).glob(f"{part}_*.mat"):
            path.unlink()
    absent = f"predict1_V{len(_PRACTICE_S) + 1:02d}"
    with open(folder / SAMPLE_IDS, "a", encoding="utf-8") as file:
        file.writelines(f"{absent}_T{t:03d}\n" for t in range(_ABSENT_VIDEO_S))
    return folder


def _run_alone(path: Path, data: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Run an unpacked submission in a process of its own; return what that reports."""
    bundle = folders["bundle"]
    report = bundle.parent / "report.json"
    order = {
        "bundle": str(bundle),
        "input_dir": str(data),
        "output_dir": str(folders["out"]),
        "report": str(report),
        "path": [str(Path(place).resolve()) for place in sys.path if place],
        "hidden": _hidden_modules((bundle / REQUIREMENTS).read_text(encoding="utf-8")),
    }
    variables = {n: v for n, v in os.environ.items() if not _PERSONAL.fullmatch(n)}
    ran = subprocess.run(
        [sys.executable, "-I", str(Path(__file__).with_name("probe.py"))],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**variables, "TMPDIR": str(folders["tmp"])},
        cwd=folders["elsewhere"],
    )
    lines = ran.stdout.splitlines()
    for line in lines:
        logger.info("%s", line)
    if ran.returncode or not report.exists():
        how = "an error" if ran.returncode else "no result"
        how = f"signal {-ran.returncode}" if ran.returncode < 0 else how
        starts = [k for k, line in enumerate(lines) if line.strip() == line != ""]
        words = "\n".join(lines[starts[-1] :]) if starts else "none"
        raise DataError(
            f"{path}: the submission does not run alone, with nothing but what its "
            f"{REQUIREMENTS} brings; it ends with {how}, its last words are: {words}"
        )
    told = json.loads(report.read_text(encoding="utf-8"))
    if told["elsewhere"]:
        raise DataError(
            f"{path}: {name_some(told['elsewhere'])} did not come from the submission"
        )
    return told


def _hidden_modules(requirements: str) -> list[str]:
    """Name the installed modules that some requirements do not bring along."""
    brought: set[tuple[str, bool]] = set()
    todo = requirements.splitlines()
    while todo:
        requirement = todo.pop()
        name, has_extras = _REQUIREMENT.match(requirement), "[" in requirement
        if name is None or (_plain(name[0]), has_extras) in brought:
            continue
        brought.add((_plain(name[0]), has_extras))
        with suppress(PackageNotFoundError):  # needed elsewhere, or not there at all
            for further in requires(name[0]) or ():
                needed, _, condition = further.partition(";")
                if has_extras or "extra" not in condition:
                    todo.append(needed)
    names = {name for name, _ in brought}
    return sorted(
        module
        for module, libraries in packages_distributions().items()
        if names.isdisjoint(map(_plain, libraries))
    )


def _plain(library: str) -> str:
    """Return the name of a library in its one form."""
    return re.sub(r"[-_.]+", "-", library).lower()


def _left_behind(folders: Mapping[str, Path], names: Sequence[str]) -> list[str]:
    """Name what should not be there after a run."""
    expected = {folders["out"] / _PREDICTIONS}
    for name in names:
        path = folders["bundle"] / name
        expected |= {path, *path.parents}
    found = {path for folder in folders.values() for path in folder.rglob("*")}
    root = folders["bundle"].parent
    return sorted(str(path.relative_to(root)) for path in found - expected)


def _compare(path: Path, answers: Path, again: Path, asked: list[str]) -> None:
    """Refuse answers that are not whole, or not those of `predict_dataset`."""
    where = f"{path}: its {_PREDICTIONS}"
    if not answers.is_file():
        raise DataError(f"{path}: it ends without {_PREDICTIONS}")
    ids, values = read_predictions(answers)
    values = match_predictions(ids, values, expected=asked, where=where)
    if np.any(values != np.round(values)):
        raise DataError(f"{where}: expected whole numbers, found others")
    expected = match_predictions(*read_predictions(again), expected=asked)
    differing = [
        asked[row] for row in np.flatnonzero(np.any(values != expected, axis=1))
    ]
    if differing:
        raise DataError(
            f"{where}: {len(differing)} answers are not those of merps predict: "
            f"{name_some(differing)}"
        )
    if answers.read_bytes() != again.read_bytes():
        raise DataError(f"{where}: the answers of merps predict, written differently")
