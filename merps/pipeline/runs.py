"""Run folders: what a fit or an evaluation leaves behind, and how it was made."""

import json
import math
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from merps import __version__
from merps.config import dump_config
from merps.errors import DataError, InputError, mismatch
from merps.evaluation.fold_files import MANIFEST
from merps.models.persistence import DESCRIPTION, WEIGHTS
from merps.options import Config
from merps.store import Store
from merps.store.files import remove_leftovers, replace_file, writing

Kind: TypeAlias = Literal["fit", "evaluate"]

PREDICTIONS = "predictions"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
FOLDS = "folds"
TABLES = ("comparison.csv", "comparison.json", "spread.csv", "calibration.csv")
LIBRARIES = ("numpy", "scipy", "scikit-learn")
EVAL_ONLY = "fitted on people who are meant for evaluation only"

_CARD, _CONFIG, _IGNORE = "run.json", "config.yaml", ".gitignore"
#: The files that a fitted model consists of.
MODEL_FILES = (DESCRIPTION, WEIGHTS, _CONFIG, _CARD)
_OURS = {*MODEL_FILES, _IGNORE, METRICS, PREDICTIONS, CHECKPOINTS, FOLDS, *TABLES}
# Models and predictions derive from licensed data: they stay out of git.
_IGNORE_ALL = b"*\n"


def prepare_run(path: Path, kind: Kind) -> None:
    """Make a run folder, or accept one that an earlier run of the kind left.

    What an earlier run wrote stays until `reopen_run`, but for unfinished files.

    Parameters
    ----------
    path : Path
        The folder.
    kind : str
        ``fit`` or ``evaluate``.

    Raises
    ------
    InputError
        If the folder holds a run of the other kind, or other things.
    SpaceError
        If it cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose a folder for the run")
    if path.is_dir():
        _require_own_folder(path, kind)
    with writing(path, needed_bytes=0):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / _IGNORE).exists():
            replace_file(path / _IGNORE, _IGNORE_ALL)
    remove_leftovers(path)


def reopen_run(path: Path) -> None:
    """Take away the card and the predictions of an earlier run in the folder.

    A run that is then interrupted leaves no mixture that passes for a finished one.

    Parameters
    ----------
    path : Path
        A folder from `prepare_run`.

    Raises
    ------
    SpaceError
        If they cannot be removed.
    """
    with writing(path, needed_bytes=0):
        (path / _CARD).unlink(missing_ok=True)
        if (path / PREDICTIONS).is_dir():
            shutil.rmtree(path / PREDICTIONS)


def write_run(
    path: Path,
    kind: Kind,
    config: Config,
    *,
    data: Mapping[str, Any],
    files: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write configuration, results and, last of all, the run card.

    Parameters
    ----------
    path : Path
        A folder from `prepare_run`.
    kind : str
        ``fit`` or ``evaluate``.
    config : Config
        Every option.
    data : mapping
        What `describe_data` returned.
    files : mapping of str to str
        Text files of the run by name.
    facts : mapping
        What else belongs on the card.
    """
    card = {
        "kind": kind,
        "data": data,
        **facts,
        "seed": config.evaluate.seed,
        "python": platform.python_version(),
        "versions": {"merps": __version__, **{n: version(n) for n in LIBRARIES}},
        "config": config.model_dump(mode="json"),
    }
    texts = {
        _CONFIG: dump_config(config),
        **files,
        _CARD: to_json(card, indent=1) + "\n",
    }
    for name, text in texts.items():
        with writing(path / name, needed_bytes=len(text)):
            replace_file(path / name, text.encode())


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Write plain values as JSON, which has no NaN: null stands for it.

    Parameters
    ----------
    value : object
        Mappings, sequences, text, numbers, booleans and None.
    indent : int, optional
        Spaces per level; everything on one line if absent.

    Returns
    -------
    str
        What any JSON parser reads.
    """
    return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def read_card(path: Path) -> dict[str, Any]:
    """Read the run card of a folder.

    Parameters
    ----------
    path : Path
        A run folder.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    DataError
        If there is none, or it is damaged.
    """
    card = path / _CARD
    if not card.is_file():
        raise mismatch(
            path,
            expected=f"a finished run with {_CARD}",
            found="no such file" if path.is_dir() else "no such folder",
            remedy=f"make one with: merps fit STORE --out {path}",
        )
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        if content["kind"] not in ("fit", "evaluate"):
            raise ValueError(f"kind {content['kind']!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{card}: damaged ({error}); run it again") from error
    return content


def read_fit_card(path: Path) -> dict[str, Any]:
    """Read the run card of a folder that holds a model.

    Parameters
    ----------
    path : Path
        A run folder.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    InputError
        If the run is an evaluation.
    DataError
        If there is no card, or it is damaged.
    """
    card = read_card(path)
    if card["kind"] != "fit":
        raise InputError(
            f"{path} is an evaluation and holds no model; make one with: merps fit "
            "STORE --out RUN"
        )
    return card


def restore_config(values: Mapping[str, Any], *, where: object) -> Config:
    """Make a configuration of the plain values that a file has kept.

    Parameters
    ----------
    values : mapping
        Options by section.
    where : object
        The file, for the message.

    Returns
    -------
    Config
        Every option.

    Raises
    ------
    InputError
        If they are no options of this version, or do not go together.
    """
    try:
        return Config.model_validate(dict(values))
    except ValueError as error:
        found = "; ".join(
            ".".join(map(str, detail["loc"])) + f" {detail['msg']}".rstrip()
            for detail in error.errors()
        )
        raise InputError(
            f"{where}: its options do not go together, or not with this version of "
            f"merps: {found.strip()}"
        ) from error


def describe_data(store: Store, people: Sequence[str]) -> dict[str, Any]:
    """Say whose data a run has used, and under which terms.

    Parameters
    ----------
    store : Store
        Where the signals are.
    people : sequence of str
        Who was used; nothing of the others enters.

    Returns
    -------
    dict
        Source, role and terms of the data, and of each person the key, which is a
        digest of the recordings and of what was done to them.
    """
    keys = {}
    for name in people:
        with store.person(name) as stored:
            keys[name] = stored.sidecar["key"]
    return {
        "source": store.source,
        "role": store.role,
        "terms": store.terms,
        "people": keys,
    }


def _require_own_folder(path: Path, kind: Kind) -> None:
    """Refuse a folder with a run of the other kind, or with what is no run."""
    try:
        found = read_card(path)["kind"]
    except DataError:  # none, or damaged: then all that is there must be ours
        found = None
    begun = "evaluate" if (path / FOLDS / MANIFEST).is_file() else None
    owner = found or begun
    if owner not in (kind, None):
        raise InputError(
            f"{path} holds a run of merps {owner}, not of merps {kind}; choose "
            "another folder"
        )
    names = {entry.name for entry in path.iterdir()}
    strangers = sorted(n for n in names - _OURS if not n.endswith(".tmp"))
    ignore = path / _IGNORE
    marked = ignore.is_file() and ignore.read_bytes() == _IGNORE_ALL
    if found is None and names and (strangers or not marked):
        raise InputError(
            f"{path} holds files that are no run of merps "
            f"({min(strangers or names)!r} for one); choose another folder"
        )


def _without_nan(value: Any) -> Any:
    """Replace NaN by None at any depth."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
