"""The sources of data that merps knows: access, terms, roles and expected contents."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from merps.errors import DataError
from merps.shipped import shipped

#: File of the sources that come with merps.
MANIFEST = "data_manifest.yaml"

Basis: TypeAlias = Literal["stated", "third-party", "inferred", "unknown"]
Role: TypeAlias = Literal["train", "eval-only"]

_LAYOUTS = ("trainval", "leaderboard", "refed", "clips", "any")
_SOURCE_KEYS = {
    "title": str,
    "access": dict,
    "license": dict,
    "terms": list,
    "shareable": bool,
    "role": str,
    "layout": str,
    "stimuli": (int, type(None)),
    "archives": list,
    "sha256": dict,
    "facts": dict,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement about a source, and what it rests on.

    Parameters
    ----------
    value : object
        What is said; None where nothing is known.
    basis : str
        One of ``stated``, ``third-party``, ``inferred``, ``unknown``.
    """

    value: Any
    basis: Basis


@dataclass(frozen=True, slots=True)
class Source:
    """One source of data.

    Parameters
    ----------
    key, title : str
        Its name in the manifest and in words.
    access, license : Fact
        Where to ask for the data and what they come under.
    terms : tuple of str
        Sentences that travel into everything derived from the data.
    shareable : bool
        Whether derived files may be handed on.
    role : str
        ``train``, or ``eval-only`` for people no model may be fitted on.
    layout : str
        How the folder is laid out.
    stimuli : int, optional
        How many stimuli each person saw.
    archives : tuple of str
        Names of the released archives, without ending.
    sha256 : mapping of str to str
        Digests of released files, recorded by a lab that has access.
    facts : mapping of str to Fact
        What to expect inside.
    """

    key: str
    title: str
    access: Fact
    license: Fact
    terms: tuple[str, ...]
    shareable: bool
    role: Role
    layout: str
    stimuli: int | None
    archives: tuple[str, ...]
    sha256: Mapping[str, str]
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All sources.

    Parameters
    ----------
    sources : mapping of str to Source
        The sources by key.
    digest : str
        Digest (sha256) of the file the manifest was read from.
    """

    sources: Mapping[str, Source]
    digest: str


@cache
def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check the manifest of data sources.

    Parameters
    ----------
    path : Path, optional
        The file; by default the one that came with merps, in a wheel or in a
        checkout.

    Returns
    -------
    Manifest
        Sources by key.

    Raises
    ------
    DataError
        If the file cannot be read or does not have the expected form; all
        problems are named at once.
    """
    import yaml

    path = shipped(MANIFEST) if path is None else path
    try:
        content = path.read_bytes()
        # Where PyYAML was built with its loader in C, that takes a tenth of the time.
        tree = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(content).get_single_data()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(tree, dict) or set(tree) != {"version", "sources"}:
        raise DataError(f"{path}: expected exactly the keys version and sources")
    if tree["version"] != 1 or not isinstance(tree["sources"], dict):
        raise DataError(f"{path}: expected version 1 and a mapping of sources")
    problems: list[str] = []
    for key, entry in tree["sources"].items():
        problems += [f"{key}: {text}" for text in _problems(key, entry)]
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}")
    sources = {key: _source(key, entry) for key, entry in tree["sources"].items()}
    return Manifest(sources=sources, digest=hashlib.sha256(content).hexdigest())


def _problems(key: object, entry: object) -> list[str]:
    """Say what is wrong with one source."""
    if not isinstance(key, str) or not re.fullmatch(r"[a-z0-9-]+", key):
        return ["the name of a source is lower-case letters, digits and hyphens"]
    if not isinstance(entry, dict):
        return ["expected a mapping"]
    problems = [f"lacks {name}" for name in _SOURCE_KEYS if name not in entry]
    problems += [f"unknown key {name}" for name in entry if name not in _SOURCE_KEYS]
    for name, kind in _SOURCE_KEYS.items():
        value = entry.get(name)
        if name in entry and not isinstance(value, kind):
            problems.append(f"{name} has the wrong type, {type(value).__name__}")
    if problems:
        return problems
    facts = {"access": entry["access"], "license": entry["license"], **entry["facts"]}
    problems += [
        f"{name} needs exactly value and basis (one of {', '.join(get_args(Basis))})"
        for name, fact in facts.items()
        if not isinstance(fact, dict)
        or set(fact) != {"value", "basis"}
        or fact["basis"] not in get_args(Basis)
    ]
    if entry["role"] not in get_args(Role):
        problems.append(f"role must be one of {', '.join(get_args(Role))}")
    if entry["layout"] not in _LAYOUTS:
        problems.append(f"layout must be one of {', '.join(_LAYOUTS)}")
    if not entry["terms"] or not all(isinstance(text, str) for text in entry["terms"]):
        problems.append("terms must be sentences, at least one")
    if not all(isinstance(name, str) for name in entry["archives"]):
        problems.append("archives must be names")
    if not all(
        isinstance(name, str) and re.fullmatch(r"[0-9a-f]{64}", str(digest))
        for name, digest in entry["sha256"].items()
    ):
        problems.append("sha256 must map file names to 64 hexadecimal digits")
    return problems


def _source(key: str, entry: dict) -> Source:
    """Return one checked source as a record."""
    facts = {name: Fact(**fact) for name, fact in entry["facts"].items()}
    return Source(
        key=key,
        **{
            **entry,
            "access": Fact(**entry["access"]),
            "license": Fact(**entry["license"]),
            "terms": tuple(entry["terms"]),
            "archives": tuple(entry["archives"]),
            "facts": facts,
        },
    )
