"""Which samples are trained on and which are tested, under four protocols."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int

from merps.errors import InputError

PROTOCOLS = ("people", "videos", "both", "within")

#: Target emotion of the fifteen videos that MER-PS and REFED share.
MER_PS_EMOTIONS: Mapping[str, str] = {
    f"V{number:02d}": emotion
    for number, emotion in enumerate(
        (
            "neutral sad fear happy relax sad happy relax fear neutral fear neutral "
            "sad relax happy"
        ).split(),
        start=1,
    )
}

#: Which side of the middle an emotion has: valence, arousal.
EMOTION_SIDES: Mapping[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "sad": (-1.0, -1.0),
    "fear": (-1.0, 1.0),
    "happy": (1.0, 1.0),
    "relax": (1.0, -1.0),
}

_LEAVE_ONE_OUT_UP_TO = 8
_PEOPLE_FOLDS = 6
_VIDEO_FOLDS = 5
_DEALS = 1000  # random ones, of which the most even is taken


@dataclass(frozen=True)
class Fold:
    """One division of the samples.

    Parameters
    ----------
    protocol, name : str
        The protocol, and what sets this fold apart from its others.
    train, test : ndarray of int, shape (row,)
        Row numbers, ascending; rows in neither are left out.
    """

    protocol: str
    name: str
    train: Int[np.ndarray, " train"] = field(repr=False)
    test: Int[np.ndarray, " test"] = field(repr=False)


def folds(
    protocol: str,
    people: np.ndarray,
    stimuli: np.ndarray,
    *,
    seed: int,
    emotions: Mapping[str, str] | None = None,
) -> list[Fold]:
    """Divide samples so that each is tested exactly once.

    ``people``: leave one person out up to 8 people, else 6 folds of people.
    ``videos``: 5 folds of stimuli, balanced over target emotions where known.
    ``both``: each of those people folds with each of those video folds, trained on
    rows that share neither. ``within``: the video folds, one person at a time.
    The folds depend on the names and the seed, not on the order of the rows.

    Parameters
    ----------
    protocol : str
        One of `PROTOCOLS`.
    people, stimuli : ndarray of str, shape (sample,)
        Who, and which stimulus.
    seed : int
        Decides who goes together.
    emotions : mapping from str to str, optional
        Target emotion of stimuli.

    Returns
    -------
    list of Fold
        Each row is in the test part of exactly one of them.

    Raises
    ------
    InputError
        If the protocol is unknown, or there are too few people or stimuli.
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}"
        )
    if protocol in ("people", "both"):
        by_person = _people_folds(people, seed)
    if protocol != "people":
        by_video = _video_folds(stimuli, seed, emotions or {})

    if protocol == "people":
        parts = [(name, tested, ~tested) for name, tested in by_person]
    elif protocol == "videos":
        parts = [(name, tested, ~tested) for name, tested in by_video]
    elif protocol == "both":
        parts = [
            (f"{who} {what}", new_person & new_video, ~new_person & ~new_video)
            for who, new_person in by_person
            for what, new_video in by_video
        ]
    else:
        parts = [
            (f"{person} {what}", own & new_video, own & ~new_video)
            for person in np.unique(people)
            for own in [people == person]
            for what, new_video in by_video
        ]
    made = [
        Fold(protocol, name, np.flatnonzero(train), np.flatnonzero(test))
        for name, test, train in parts
        if test.any()
    ]
    check_folds(made, people, stimuli)
    return made


def check_folds(folds: Sequence[Fold], people: np.ndarray, stimuli: np.ndarray) -> None:
    """Refuse folds that share what their protocol keeps apart.

    Parameters
    ----------
    folds : sequence of Fold
        All folds of one protocol.
    people, stimuli : ndarray of str, shape (sample,)
        The names the folds were made from.

    Raises
    ------
    InputError
        If train and test of a fold share a person or a stimulus that the protocol
        forbids, if nothing is left to train on, or if a sample is not tested
        exactly once.
    """
    for fold in folds:
        where = f"protocol {fold.protocol}, fold {fold.name}"
        if len(fold.train) == 0:
            raise InputError(
                f"{where}: nothing is left to train on; leave this person or these "
                "stimuli out, or choose another protocol"
            )
        if fold.protocol in ("people", "both"):
            _require_apart(where, people, fold)
        if fold.protocol in ("videos", "both", "within"):
            _require_apart(where, stimuli, fold)
        if fold.protocol == "within":
            rows = np.concatenate([fold.train, fold.test])
            if len(np.unique(people[rows])) != 1:
                raise InputError(f"{where}: more than one person in it")
    tested = np.concatenate([fold.test for fold in folds]) if folds else np.empty(0)
    if not np.array_equal(np.sort(tested), np.arange(len(people))):
        raise InputError("the folds do not test each sample exactly once")


def _require_apart(where: str, names: np.ndarray, fold: Fold) -> None:
    """Refuse a fold whose two parts have a name in common."""
    shared = np.intersect1d(names[fold.train], names[fold.test])
    if len(shared):
        raise InputError(f"{where}: {shared[0]} is in both train and test")


def _people_folds(people: np.ndarray, seed: int) -> list[tuple[str, np.ndarray]]:
    """Name each fold of people and mark its rows."""
    names = np.unique(people)
    if len(names) < 2:
        raise InputError(
            f"{len(names)} person cannot be split into new and known people; add "
            "people, or choose the protocol videos or within"
        )
    if len(names) <= _LEAVE_ONE_OUT_UP_TO:
        return [(str(name), people == name) for name in names]
    shuffled = np.random.default_rng(seed).permutation(names)
    return _marked("people", people, np.array_split(shuffled, _PEOPLE_FOLDS))


def _video_folds(
    stimuli: np.ndarray, seed: int, emotions: Mapping[str, str]
) -> list[tuple[str, np.ndarray]]:
    """Name each fold of stimuli and mark its rows; deal emotions out evenly."""
    names = np.unique(stimuli)
    if len(names) < 2:
        raise InputError(
            f"{len(names)} stimulus cannot be split into new and known stimuli; add "
            "stimuli, or choose the protocol people"
        )
    rng = np.random.default_rng(seed)
    n_folds = min(_VIDEO_FOLDS, len(names))
    traits = _traits([emotions.get(str(name), "") for name in names])
    deals = [rng.permutation(len(names)) for _ in range(_DEALS)]
    fairest = min(deals, key=lambda deal: _unevenness(traits[deal], n_folds))
    parts = [names[fairest[k::n_folds]] for k in range(n_folds)]
    return _marked("videos", stimuli, parts)


def _traits(emotions: Sequence[str]) -> Float64[np.ndarray, "name trait"]:
    """Describe names by their emotion, and by its side of valence and arousal."""
    kinds = sorted(set(emotions))
    same = [[float(emotion == kind) for kind in kinds] for emotion in emotions]
    sides = [EMOTION_SIDES.get(emotion, (0.0, 0.0)) for emotion in emotions]
    traits = np.hstack([same, sides])
    return traits - traits.mean(axis=0)


def _unevenness(traits: Float64[np.ndarray, "name trait"], n_folds: int) -> float:
    """Return how much folds that are dealt in turn differ in what they hold."""
    sums = [traits[k::n_folds].sum(axis=0) for k in range(n_folds)]
    return float(np.sum(np.square(sums)))


def _marked(
    what: str, names: np.ndarray, parts: Iterable[np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """Name each part by its number and mark its rows."""
    return [
        (f"{what}-{number}", np.isin(names, part))
        for number, part in enumerate(parts, start=1)
    ]
