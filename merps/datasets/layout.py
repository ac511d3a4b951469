"""Where the files of a MER-PS or REFED folder lie, and whose they are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from merps.errors import DataError, mismatch
from merps.predictions import name_some
from merps.samples import natural_order

Layout: TypeAlias = Literal["trainval", "leaderboard", "refed", "input"]
Severity: TypeAlias = Literal["error", "warning", "note"]
#: The files of one person, by what they hold.
Part: TypeAlias = Literal["eeg", "fnirs", "eeg_baseline", "fnirs_baseline", "labels"]

SIGNAL_FILES: Mapping[Part, str] = {
    "eeg": "EEG_videos.mat",
    "fnirs": "fNIRS_videos.mat",
    "eeg_baseline": "EEG_baselines.mat",
    "fnirs_baseline": "fNIRS_baselines.mat",
}
_PERSON = re.compile(r"[A-Za-z0-9_-]{1,64}")
# In spite of their names, test_* are the training people.
_SOURCES = (
    (re.compile(r"test_?\d+"), "mer-ps-trainval", "trainval"),
    (re.compile(r"predict_?\d+"), "mer-ps-leaderboard", "leaderboard"),
    (re.compile(r"(sub[-_]?)?\d+"), "refed", "refed"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something worth telling about a folder of data.

    Parameters
    ----------
    severity : str
        ``error`` if recordings are lost or cannot be trusted, ``warning`` if
        something is odd, ``note`` if something optional is absent or was put right.
    where : str
        File, person or trial.
    message : str
        What was found, and the way out.
    """

    severity: Severity
    where: str
    message: str


@dataclass(frozen=True)
class Folder:
    """A data folder: its root, its people and where their files are.

    Parameters
    ----------
    root : Path
        Folder that holds ``data/``, with links resolved.
    people : tuple of str
        Names of the folders in ``data/`` that can be used, in natural order.
    layout : str
        One of ``trainval``, ``leaderboard``, ``refed`` and ``input`` (no labels).
    source : str
        Key of the source in the manifest, judged by the people's names.
    problems : tuple of Problem
        What was wrong with the folder itself.
    """

    root: Path
    people: tuple[str, ...]
    layout: Layout
    source: str
    problems: tuple[Problem, ...] = field(repr=False)

    def part(self, person: str, part: Part) -> Path | None:
        """Return the file of one person that holds one part, if it is there.

        Parameters
        ----------
        person : str
            Name of the person.
        part : str
            Which file.

        Returns
        -------
        Path or None
            The file; None if there is none.

        Raises
        ------
        DataError
            If it leads out of the data folder or is no file.
        """
        if part == "labels":
            return self.file(f"annotations/{person}_label.mat")
        return self.file(f"data/{person}/{SIGNAL_FILES[part]}")

    def file(self, name: str) -> Path | None:
        """Return one file of the data folder, if it is there.

        Parameters
        ----------
        name : str
            Path relative to the root.

        Returns
        -------
        Path or None
            The file; None if there is none.

        Raises
        ------
        DataError
            If it leads out of the data folder or is no file.
        """
        path = self.root / name
        try:
            if not path.is_symlink() and not path.exists():
                return None
            require_inside(self.root, path)
            is_file = path.is_file()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if not is_file:
            raise mismatch(
                path,
                expected="a file",
                found="a link to nothing" if path.is_symlink() else "something else",
                remedy="replace it",
            )
        return path


def find_folder(root: Path) -> Folder:
    """Find the people and the layout of a data folder.

    Parameters
    ----------
    root : Path
        Folder that holds ``data/``, or the folder above it.

    Returns
    -------
    Folder
        What was found, with everything wrong at this level as problems.

    Raises
    ------
    DataError
        If there is no such folder, or no usable person in it.
    """
    try:
        return _find_folder(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error.strerror}") from error


def require_inside(root: Path, path: Path) -> None:
    """Refuse a path that leads out of the data folder through a link.

    Parameters
    ----------
    root : Path
        The data folder, resolved.
    path : Path
        A path below it.

    Raises
    ------
    DataError
        If the path ends somewhere else.
    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: a link that leads nowhere: {error}") from error
    if not target.is_relative_to(root):
        raise mismatch(
            path,
            expected="data inside the data folder",
            found="a link that leaves it",
            remedy="copy the data into the folder",
        )


def is_inside(root: Path, path: Path) -> bool:
    """Tell that a path does not leave the data folder through a link.

    Parameters
    ----------
    root : Path
        The data folder, resolved.
    path : Path
        A path below it.

    Returns
    -------
    bool
        False also for links that lead nowhere.
    """
    try:
        require_inside(root, path)
    except DataError:
        return False
    return True


def _find_folder(root: Path) -> Folder:
    """Find the people and the layout of a data folder."""
    root = _find_root(root)
    problems: list[Problem] = []
    people: list[str] = []
    refused: list[str] = []
    for path in _visible(root / "data"):
        if not path.is_dir() and not path.is_symlink():
            continue
        try:
            _require_person(root, path)
            people.append(path.name)
        except DataError as error:
            refused.append(path.name)
            problems.append(Problem("error", f"data/{path.name}"[:80], str(error)))
    if not people:
        reasons = "".join(f"; {problem.message}" for problem in problems)
        raise mismatch(
            root / "data",
            expected="one folder per person",
            found=f"no usable one{reasons}",
            remedy="check that the release was unpacked completely",
        )
    annotated = _annotated(root)
    source, layout = _judge_names(people, problems)
    if annotated is None:
        layout = "input"
    else:
        problems += _compare(people, refused, annotated)
    return Folder(
        root=root,
        people=tuple(sorted(people, key=natural_order)),
        layout=layout,
        source=source,
        problems=tuple(problems),
    )


def _find_root(root: Path) -> Path:
    """Return the folder that holds `data/`: the one given or the only one in it."""
    if not root.exists():
        raise DataError(f"{root}: no such folder; check the path")
    if not root.is_dir():
        raise mismatch(
            root,
            expected="a folder that holds data/",
            found="a file",
            remedy="unpack it, and pass the folder",
        )
    root = root.resolve()
    candidates = [root] if (root / "data").is_dir() else _visible(root)
    found = [path for path in candidates if (path / "data").is_dir()]
    if len(found) != 1:
        names = name_some(path.name for path in found)
        raise mismatch(
            root,
            expected="a folder that holds data/<person>/",
            found=f"{len(found)} that do: {names}" if found else "no data/ in it",
            remedy="pass the folder of one release",
        )
    require_inside(root, found[0] / "data")
    return found[0].resolve()


def _visible(folder: Path) -> list[Path]:
    """List a folder in natural order without hidden entries."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(entries, key=lambda path: natural_order(path.name))


def _require_person(root: Path, path: Path) -> None:
    """Refuse a folder of `data/` that cannot stand for a person."""
    if not _PERSON.fullmatch(path.name):
        raise mismatch(
            f"data/{path.name[:80]!r}",
            expected="a person's name of 1 to 64 letters, digits, _ or -",
            found="another name",
            remedy="rename the folder",
        )
    require_inside(root, path)
    if not path.is_dir():
        raise DataError(f"{path}: a link to what is no folder; replace it")


def _annotated(root: Path) -> list[str] | None:
    """Name the people who have a label file; None if there are no labels at all."""
    folder = root / "annotations"
    if not folder.is_dir():
        return None
    require_inside(root, folder)
    files = [path.name for path in _visible(folder)]
    suffix = "_label.mat"
    return [name.removesuffix(suffix) for name in files if name.endswith(suffix)]


def _judge_names(people: list[str], problems: list[Problem]) -> tuple[str, Layout]:
    """Tell source and layout by the people's names; evaluation people decide."""
    found = {}
    for person in people:
        for pattern, source, layout in _SOURCES:
            if pattern.fullmatch(person):
                found.setdefault((source, layout), person)
                break
        else:
            found.setdefault(("unlisted", "trainval"), person)
    if len(found) > 1:
        names = name_some(f"{name} ({key[0]})" for key, name in found.items())
        problems.append(
            Problem(
                "error",
                "data",
                f"people of several sources in one folder: {names}; keep each release "
                "in its own folder, since roles and terms differ",
            )
        )
    order = ("mer-ps-leaderboard", "unlisted", "refed", "mer-ps-trainval")
    return min(found, key=lambda key: order.index(key[0]))


def _compare(
    people: list[str], refused: list[str], annotated: list[str]
) -> list[Problem]:
    """Say who has data but no labels, and who has labels but no data."""
    unlabeled = [name for name in people if name not in annotated]
    absent = [name for name in annotated if name not in (*people, *refused)]
    problems = [
        Problem(
            "error",
            f"annotations/{name}_label.mat",
            f"no label file for data/{name}; its trials come without targets",
        )
        for name in unlabeled
    ]
    for name in absent:
        problems.append(
            Problem(
                "error",
                f"annotations/{name}_label.mat"[:100],
                f"labels without data: there is no folder data/{name[:64]}",
            )
        )
    return problems
