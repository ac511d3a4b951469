"""Run folders: what a fit or an evaluation leaves behind, and how it was made."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from merps.config import Config, dump_config, load_config
from merps.errors import DataError, InputError, mismatch
from merps.store import Store
from merps.store.files import replace_file, writing

Kind: TypeAlias = Literal["fit", "evaluate"]

_CARD = "run.json"
_LIBRARIES = ("merps", "numpy", "scipy", "scikit-learn")


def prepare_run(path: Path, kind: Kind) -> None:
    """Make a run folder, or accept one that an earlier run of the kind left.

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
    if path.is_dir() and any(path.iterdir()):
        found = read_card(path)["kind"] if (path / _CARD).exists() else None
        if found is None and not (path / ".gitignore").exists():
            raise InputError(
                f"{path} holds files that are no run of merps; choose another folder"
            )
        if found not in (kind, None):
            raise InputError(
                f"{path} holds a run of merps {found}, not of merps {kind}; choose "
                "another folder"
            )
    with writing(path, needed_bytes=0):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Models and predictions derive from licensed data: they stay out of git.
        replace_file(path / ".gitignore", b"*\n")


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
        "data": dict(data),
        **facts,
        "seed": config.evaluate.seed,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "config": config.model_dump(mode="json"),
    }
    texts = {
        "config.yaml": dump_config(config),
        **files,
        _CARD: json.dumps(card, indent=1) + "\n",
    }
    for name, text in texts.items():
        with writing(path / name, needed_bytes=len(text)):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(path / name, text.encode())


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{card}: damaged ({error}); run it again") from error
    return content


def run_config(path: Path) -> Config:
    """Return the configuration of a run.

    Parameters
    ----------
    path : Path
        A run folder.

    Returns
    -------
    Config
        Every option.
    """
    return load_config(path / "config.yaml")


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
        Source, role and terms of the data, and the digests of each person's inputs.
    """
    inputs = {}
    for name in people:
        with store.person(name) as stored:
            inputs[name] = stored.sidecar["key"]
    return {
        "source": store.source,
        "role": store.role,
        "terms": store.terms,
        "people": inputs,
    }
