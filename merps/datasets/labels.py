"""A first look at the annotations of a folder: which may be stimuli."""

from collections import Counter
from collections.abc import Mapping

from merps.datasets.guessing import generalize
from merps.datasets.looking import Look, RatedTables
from merps.datasets.templates import Template
from merps.samples import natural_order

#: Fewer labels that tables are called after may be chance.
_FEWEST = 2


def count_labels(look: Look) -> tuple[Counter[str], list[str]]:
    """Count annotations, and name the stimuli that may begin at them.

    Parameters
    ----------
    look : Look
        Recordings; where there are annotations in EEG, those of fNIRS do not count.

    Returns
    -------
    tuple of (Counter, list of str)
        How often each label is there; and each label, followed by ``#2`` and so on up
        to as often as one file has it, in natural order.
    """
    in_file = [
        (own[0].modality, Counter(mark.label for mark in own[0].header.annotations))
        for own in look.streams.values()
    ]
    tellers = {modality for modality, counts in in_file if counts}
    labels: Counter[str] = Counter()
    most: dict[str, int] = {}
    for modality, counts in in_file:
        if modality == "eeg" or "eeg" not in tellers:
            labels += counts
            most |= {k: max(n, most.get(k, 0)) for k, n in counts.items()}
    names = [
        label if n == 1 else f"{label}#{n}"
        for label in sorted(most, key=natural_order)
        for n in range(1, most[label] + 1)
    ]
    return labels, names


def rated_labels(
    look: Look, owners: Mapping[str, Mapping[str, str]], tables: RatedTables
) -> dict[str, dict[str, str]]:
    """Tell which labels tables of ratings are called after.

    Parameters
    ----------
    look : Look
        Recordings.
    owners : mapping of str to mapping of str to str
        Person and stimulus of each recording.
    tables : dict
        Tables of ratings by path.

    Returns
    -------
    dict of str to dict of str to str
        Person and label in place of the owners; empty where tables go by recordings,
        or by nothing that is known.
    """
    if "{stimulus}" in (generalize(tables, owners) or ""):
        return {}
    labels = {
        mark.label
        for own in look.streams.values()
        for stream in own
        for mark in stream.header.annotations
    }
    marked = {
        f"{own['person']} {label}": {"person": own["person"], "stimulus": label}
        for own in owners.values()
        for label in labels
    }
    path = generalize(tables, marked)
    if path is None:
        return {}
    found = [Template(path).match(name) or {} for name in tables]
    rated = {names["stimulus"] for names in found if "stimulus" in names} & labels
    if len(rated) < _FEWEST:
        return {}
    return {key: own for key, own in marked.items() if own["stimulus"] in rated}
