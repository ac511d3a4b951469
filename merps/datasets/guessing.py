"""Whose files are these: paths with names, guessed from how paths differ."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from merps.datasets.templates import Template

_TOKEN = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]")
#: Marks a token that is the folder of a person; no path has this character.
_FOLDER = "\0"
#: What would mean something else in a template.
_SPECIAL = re.compile(r"[{}*\x01-\x1f]")
_PERSON = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PERSON_WORDS = {
    *("sub", "subj", "subject", "s", "p", "vp", "pp", "part", "participant", "person"),
    *("patient", "proband", "pat", "id", "test", "predict"),
}
_STIMULUS_WORDS = {
    *(
        "run",
        "r",
        "trial",
        "t",
        "video",
        "vid",
        "v",
        "clip",
        "stim",
        "stimulus",
        "film",
    ),
    *("movie", "m", "task", "block", "b", "c", "cond", "condition", "song", "music"),
}
#: What a folder or file is called after what is in it, and after nobody.
_DEVICE_WORDS = {"eeg", "nirs", "fnirs", "optical", "optics", "hbo"}
_REST_WORDS = {"rest", "resting", "restingstate", "baseline"}
_AFTER_NOBODY = _DEVICE_WORDS | _REST_WORDS


@dataclass(frozen=True)
class Guess:
    """Files that one path describes.

    Parameters
    ----------
    path : str
        A path with ``{person}`` and ``{stimulus}``, or a plain one.
    person, stimulus : str, optional
        Names, where the path does not say them.
    files : tuple of str
        Which files these are.
    is_rest : bool
        They seem to be rests.
    """

    path: str
    person: str | None
    stimulus: str | None
    files: tuple[str, ...]
    is_rest: bool = False


def guess_templates(
    paths: Sequence[str], contents: Mapping[str, str] | None = None
) -> list[Guess]:
    """Guess whose each file is, from how paths differ.

    A folder a person comes first, then letters and digits such as ``P01`` or
    ``Subject00`` after which something else differs. Files whose paths have no like
    are named one by one. Files with other contents are described apart, and so are
    those that are called rest or baseline, unless all are: these come first.

    Parameters
    ----------
    paths : sequence of str
        Paths under the data folder, with slashes; at least one.
    contents : mapping of str to str, optional
        What is in a file, such as ``eeg``, by its path.

    Returns
    -------
    list of Guess
        Together they describe every file.
    """
    folders = _person_folders(paths)
    groups: dict[tuple, list[tuple[str, list[str]]]] = defaultdict(list)
    rests = {path for path in paths if _is_rest(path)}
    if len(rests) == len(paths):
        rests = set()
    for path in paths:
        tokens = _split(path, folders)
        groups[path not in rests, _shape(tokens)].append((path, tokens))
    return [
        replace(_guess(members), is_rest=not is_trial)
        for is_trial, shape in sorted(groups, key=lambda key: key[0])
        for members in _by_content(groups[is_trial, shape], contents or {})
    ]


def guess_distinct(
    paths: Sequence[str], contents: Mapping[str, str] | None = None
) -> list[Guess]:
    """Guess whose each file is, and name files one by one where two got one name.

    Parameters
    ----------
    paths : sequence of str
        Paths under the data folder, with slashes; at least one.
    contents : mapping of str to str, optional
        As for `guess_templates`.

    Returns
    -------
    list of Guess
        Together they describe every file, no two of them alike.
    """
    contents = contents or {}
    done, single = [], []
    for guess in guess_templates(paths, contents):
        template = Template(guess.path)
        found = [template.match(name) for name in guess.files]
        keys = {tuple(sorted(names.items())) for names in found if names is not None}
        if len(guess.files) > 1 and len(keys) == len(guess.files):
            done.append(guess)
        else:
            single += [
                replace(guess_templates([name])[0], is_rest=guess.is_rest)
                for name in guess.files
            ]
    used: Counter[tuple[str, str | None, bool]] = Counter()
    for guess in single:
        (name,) = guess.files
        fitting = [
            k
            for k, g in enumerate(done)
            if Template(g.path).fits(name) and g.is_rest == guess.is_rest
        ]
        if fitting:  # a longer name for a stimulus
            other = done[fitting[0]]
            done[fitting[0]] = replace(other, files=(*other.files, name))
            continue
        if guess.person is not None:
            key = (guess.person, contents.get(name), guess.is_rest)
            used[key] += 1
            if used[key] > 1:  # it is not known whether they are the same
                person = f"{guess.person[:60]}-{used[key]}"
                guess = replace(guess, person=person)
        done.append(guess)
    return done


def name_one(path: str, person: str) -> Guess:
    """Describe one file whose person is known otherwise.

    Parameters
    ----------
    path : str
        The file, under the data folder.
    person : str
        Whose it is.

    Returns
    -------
    Guess
        With the path as it is.
    """
    return Guess(_SPECIAL.sub("?", path), person, None, (path,))


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
    known = sorted(
        {
            (own.get("person") or "", own.get("stimulus") or "")
            for own in names.values()
        },
        key=lambda pair: (-len(pair[0]), -len(pair[1]), pair),
    )
    found: Counter[str] = Counter()
    for path in paths:
        options = []
        for person, stimulus in known:
            if not person or not _has(path, person):
                continue
            text = _replace(path, person, "{person}")
            if stimulus and _has(text, stimulus):
                options.append((2, _replace(text, stimulus, "{stimulus}")))
            options.append((1, text))
        if options:
            found[max(options)[1]] += 1
    return found.most_common(1)[0][0] if found else None


def _person_folders(paths: Sequence[str]) -> set[str]:
    """Return the folders that stand for a person: several that hold files alike."""
    inside: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        first, _, rest = path.partition("/")
        if rest:
            inside[first].add(re.sub(r"[0-9]+", "0", rest.replace(first, "")))
    if len(inside) < 2 or not all(map(_PERSON.fullmatch, inside)):
        return set()
    if any(folder.lower() in _AFTER_NOBODY for folder in inside):
        return set()
    shared = Counter(name for names in inside.values() for name in names)
    alike = sum(any(shared[name] > 1 for name in names) for names in inside.values())
    return set(inside) if alike == len(inside) else set()


def _by_content(
    members: list[tuple[str, list[str]]], contents: Mapping[str, str]
) -> list[list[tuple[str, list[str]]]]:
    """Split paths that are built alike where some hold EEG alone and some fNIRS."""
    split: dict[str, list[tuple[str, list[str]]]] = {"eeg": [], "fnirs": []}
    others = []
    for path, tokens in members:
        split.get(contents.get(path, ""), others).append((path, tokens))
    if not all(split.values()):
        return [members]
    templates = {name: Template(_guess(own).path) for name, own in split.items()}
    for path, tokens in others:  # not opened: it is what those are whose path it fits
        fitting = [name for name, own in templates.items() if own.fits(path)]
        split[(fitting or ["eeg"])[0]].append((path, tokens))
    return list(split.values())


def _is_rest(path: str) -> bool:
    """Tell that a path says rest, as a word of its own."""
    words = {token.lower() for token in _TOKEN.findall(path)}
    return not words.isdisjoint(_REST_WORDS)


def _split(path: str, folders: set[str]) -> list[str]:
    """Split a path into letters, digits and signs; a person's folder becomes a name."""
    folder = path.partition("/")[0]
    if folder not in folders or folder == path:
        return _TOKEN.findall(path)
    pieces = path.split(folder)
    tokens: list[str] = []
    for number, piece in enumerate(pieces):
        if number:
            tokens.append(_FOLDER + folder)
        tokens += _TOKEN.findall(piece)
    return tokens


def _shape(tokens: Sequence[str]) -> tuple:
    """Return what two paths share that belong to one pattern; the ending counts."""
    dot = max((k for k, t in enumerate(tokens) if t == "."), default=len(tokens))
    return tuple(
        _FOLDER
        if t.startswith(_FOLDER)
        else "0"
        if t.isdigit()
        else "a"
        if t.isalpha()
        else t
        for t in tokens[:dot]
    ) + tuple(t.lower() for t in tokens[dot:])


def _guess(members: list[tuple[str, list[str]]]) -> Guess:
    """Describe files whose paths are built alike."""
    files = tuple(path for path, _ in members)
    first = members[0][1]
    varying = [k for k in range(len(first)) if len({t[k] for _, t in members}) > 1]
    out = list(first)
    stimulus_at = [k for k in varying if _word_before(first, k) in _STIMULUS_WORDS]
    if any(token.startswith(_FOLDER) for token in first):
        out = ["{person}" if token.startswith(_FOLDER) else token for token in out]
        rest = [k for k in varying if not first[k].startswith(_FOLDER)]
        return _finish(out, rest, files, None)
    person_at = _person_place(first, varying, stimulus_at)
    if person_at is None:
        return _without_person(first, varying, files)
    begin = person_at
    if first[person_at].isdigit() and person_at and first[person_at - 1].isalpha():
        begin -= 1
    out[begin : person_at + 1] = ["{person}"] + [""] * (person_at - begin)
    rest = [k for k in varying if k not in range(begin, person_at + 1)]
    if not rest:  # a run that all have alike is a stimulus, too
        rest = [
            k
            for k, token in enumerate(first)
            if k > person_at
            and token.isdigit()
            and _word_before(first, k) in _STIMULUS_WORDS
        ][:1]
    return _finish(out, rest, files, None)


def _person_place(
    tokens: Sequence[str], varying: Sequence[int], stimulus_at: Sequence[int]
) -> int | None:
    """Choose the token that names a person; None if none seems to."""
    by_word = [
        k
        for k, token in enumerate(tokens)
        if token.isdigit() and _word_before(tokens, k) in _PERSON_WORDS
    ]
    for candidates in (
        [k for k in by_word if k in varying],
        [k for k in varying if k not in stimulus_at],
        by_word,
    ):
        if candidates:
            return candidates[0]
    return None


def _without_person(
    tokens: Sequence[str], varying: Sequence[int], files: tuple[str, ...]
) -> Guess:
    """Describe files of one person whose paths differ by stimulus, or one file."""
    stem = [*tokens]
    if not varying:
        name = "".join(tokens).rpartition("/")[2].partition(".")[0]
        return Guess(_SPECIAL.sub("?", files[0]), _as_person(name), None, files)
    first = varying[0]
    words = first
    while words and (tokens[words - 1].isalpha() or tokens[words - 1] in "_-. "):
        words -= 1
        if tokens[words].isalpha() and tokens[words].lower() in _STIMULUS_WORDS:
            break
    name = "".join(tokens[:words]).rpartition("/")[2].strip("_-. ")
    if not name:  # nothing but the stimulus differs, and nothing stands before it
        return _finish(stem, varying, files, "person1")
    return _finish(stem, varying, files, _as_person(name))


def _finish(
    tokens: list[str], rest: Sequence[int], files: tuple[str, ...], person: str | None
) -> Guess:
    """Put the stimulus where paths still differ; all of it from first to last."""
    tokens = [_SPECIAL.sub("?", t) if len(t) == 1 else t for t in tokens]
    if rest:
        begin, end = rest[0], rest[-1] + 1
        tokens[begin:end] = ["{stimulus}"]
    return Guess("".join(tokens), person, None, files)


def _word_before(tokens: Sequence[str], place: int) -> str:
    """Return the letters before a token, across one sign."""
    for step in (1, 2):
        if place >= step and tokens[place - step].isalpha():
            return tokens[place - step].lower()
        if place >= step and tokens[place - step] not in "-_":
            break
    return ""


def _as_person(name: str) -> str:
    """Make a name of letters, digits, _ and -, without what is in the file."""
    name = "".join(t for t in _TOKEN.findall(name) if t.lower() not in _AFTER_NOBODY)
    name = name.strip("-_. ")
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:64].strip("-") or "person1"


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
