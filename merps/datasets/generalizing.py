"""Where the tables are that go with recordings: paths with names, from their paths."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from merps.datasets.guessing import Guess
from merps.datasets.templates import Template


def find_beside(paths: Sequence[str], guesses: Sequence[Guess]) -> str | None:
    """Return the path of recordings with another ending, where tables lie beside them.

    Parameters
    ----------
    paths : sequence of str
        Paths of tables, say.
    guesses : sequence of Guess
        What the paths of recordings seem to be.

    Returns
    -------
    str or None
        The path with names that describes most tables; None if it names no person or
        does not describe most of them.
    """
    endings = {path[path.rindex(".") :] for path in paths}
    found: Counter[str] = Counter()
    for guess in guesses:
        stem, dot, _ = guess.path.rpartition(".")
        for ending in sorted(endings) if dot and "{person}" in stem else ():
            fits = Template(stem + ending).fits
            found[stem + ending] = sum(map(fits, paths))
    best, count = found.most_common(1)[0] if found else ("", 0)
    return best if 2 * count > len(paths) else None


def generalize(
    paths: Iterable[str], names: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Put names into the paths of other files, and return the path that most share.

    Parameters
    ----------
    paths : iterable of str
        Paths of tables, say.
    names : mapping of str to mapping of str to str
        Names of person and stimulus, by recording.

    Returns
    -------
    str or None
        The path with names that describes most files; None if none names a person.
    """
    stimuli: dict[str, set[str]] = defaultdict(set)
    for own in names.values():
        if own.get("person"):
            stimuli[own["person"]].add(own.get("stimulus") or "")
    found: Counter[str] = Counter()
    for path in paths:
        options = []
        for person in sorted(stimuli, key=_longest_first):
            if person not in path or not _has(path, person):
                continue
            text = _replace(path, person, "{person}")
            options.append((1, text))
            for stimulus in sorted(
                stimuli[person], key=lambda name: (-len(name), name)
            ):
                if stimulus and stimulus in text and _has(text, stimulus):
                    options.append((2, _replace(text, stimulus, "{stimulus}")))
        if options:
            found[max(options)[1]] += 1
    return found.most_common(1)[0][0] if found else None


def _longest_first(name: str) -> tuple[int, str]:
    """Return a key that sorts what holds another name before it."""
    return -len(name), name


def _has(path: str, name: str) -> bool:
    """Tell that a path has a name, and not as part of a longer one."""
    return re.search(_whole(name), path) is not None


def _replace(path: str, name: str, by: str) -> str:
    """Replace a name in a path."""
    return re.sub(_whole(name), by, path)


def _whole(name: str) -> str:
    """Return a pattern of a name that digits do not go on."""
    before = r"(?<![0-9])" if name[:1].isdigit() else r"(?<![A-Za-z0-9])"
    after = r"(?![0-9])" if name[-1:].isdigit() else r"(?![A-Za-z0-9])"
    return before + re.escape(name) + after
