"""What `merps init` writes of a look at a folder, as lines of a configuration."""

import json
from collections.abc import Mapping, Sequence

from merps.datasets.guessing import Guess
from merps.datasets.lab import MOST_STIMULI
from merps.datasets.labels import count_labels
from merps.datasets.looking import Look, counted
from merps.datasets.montages import standard_positions
from merps.samples import natural_order

_MONTAGE = "colin27_1005"
#: Most annotations that are written down as stimuli.
_NAMED = 40


def file_lines(guesses: Sequence[Guess], is_bids: bool) -> list[str]:
    """Return the part that says which files are whose.

    Parameters
    ----------
    guesses : sequence of Guess
        Paths with names.
    is_bids : bool
        A BIDS data set says it itself.

    Returns
    -------
    list of str
        Lines of YAML.
    """
    if is_bids:
        return [
            "  layout: bids        # EEG and fNIRS of one subject and run are joined"
        ]
    lines = [
        "  files:              # the first path that fits counts; {person}, {session}",
        "                      # and {stimulus} are names, * anything, **/ any folders",
    ]
    for guess in guesses:
        size = counted(len(guess.files), "file")
        lines.append(f"    - path: {quote(guess.path)}   # {size}")
        if guess.person is not None:
            lines.append(f"      person: {quote(guess.person)}")
        if guess.is_rest:
            lines.append(
                "      rest: true  # a guess by the name: what trials start from"
            )
    return lines


def stimulus_lines(
    look: Look,
    owners: Mapping[str, Mapping[str, str]],
    marked: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """Return the part that says what the stimuli are.

    Parameters
    ----------
    look : Look
        Recordings and their annotations.
    owners : mapping of str to mapping of str to str
        Person and stimulus of each recording.
    marked : mapping of str to mapping of str to str
        The same where annotations are the stimuli; empty where files are.

    Returns
    -------
    list of str
        Lines of YAML.
    """
    names = {own["stimulus"] for own in (marked or owners).values()}
    numbered = [
        f"    V{number:02d}: {quote(name)}"
        for number, name in enumerate(sorted(names, key=natural_order), start=1)
    ]
    if len(numbered) > MOST_STIMULI:
        numbered = []
    if numbered:
        numbered.insert(
            0, "  stimuli:            # the same number is the same stimulus for all"
        )
    if marked:
        return [
            "  onsets: annotations # a guess: tables of ratings are called after these",
            *numbered,
            "  duration_s: null    # as long as they are rated",
        ]
    onsets = "  onsets: file        # a file is a stimulus, from its first sample on"
    return [onsets, *numbered, *_label_lines(look)]


def reading_lines(look: Look) -> list[str]:
    """Return the part that says how files are read.

    Parameters
    ----------
    look : Look
        What was seen of them.

    Returns
    -------
    list of str
        Lines of YAML.
    """
    lines = []
    eeg = [s.header for s in look.of("eeg") if s.header.positions is None]
    if eeg:
        known = standard_positions(_MONTAGE)
        names = {name.upper() for header in eeg for name in header.channels}
        share = len(names & set(known)) / len(names)
        if share >= 0.5:
            lines.append(
                f"  montage: {_MONTAGE} # positions by name, for EEG without any; "
                "null: none"
            )
    for unit in [*look.length_units][:1]:
        lines += [
            "  # WARNING: the files state another unit, with which no light would come",
            "  # back from a brain. Concentrations depend on it: make sure.",
            f"  length_unit: {unit}",
        ]
    if any(
        "state no wavelengths" in note for s in look.of("fnirs") for note in s.notes
    ):
        lines += [
            "  channels: null      # a table of the fNIRS columns as channels.tsv in",
            "                      # BIDS: name, source, detector, wavelength_nominal",
        ]
    return lines


def quote(text: str) -> str:
    """Return a text as YAML takes it literally.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        It, in quotes.
    """
    if not text.isprintable():
        return json.dumps(text)
    return "'" + text.replace("'", "''") + "'"


def _label_lines(look: Look) -> list[str]:
    """Return what to write if stimuli begin at annotations, ready to be taken over."""
    labels, names = count_labels(look)
    if not labels:
        return []
    text = ", ".join(f"{_clip(label)} ({n})" for label, n in labels.most_common(8))
    stimuli = [f"  #     V{k:02d}: {quote(name)}" for k, name in enumerate(names, 1)]
    return [
        f"  # Annotations in the files: {text}.",
        "  # If stimuli begin at some of them (the second 'a' of a file is 'a#2'), put",
        "  # this in place of onsets and stimuli, without names that are no stimuli:",
        "  #   onsets: annotations",
        "  #   stimuli:",
        *stimuli[:_NAMED],
        *(["  #     ..."] if len(stimuli) > _NAMED else []),
        "  #   duration_s: null    # seconds, where annotations have no duration",
    ]


def _clip(label: str) -> str:
    """Return a label on one line, short."""
    return " ".join(label.split())[:30]
