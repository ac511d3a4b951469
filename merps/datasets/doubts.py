"""What a person must look at in guesses of whose a recording is."""

from collections import defaultdict
from collections.abc import Mapping

from merps.datasets.lab import MOST_STIMULI
from merps.datasets.looking import Look
from merps.predictions import name_some


def tell_doubts(look: Look, owners: Mapping[str, Mapping[str, str]]) -> None:
    """Say which guesses cannot be right, or might not be.

    Parameters
    ----------
    look : Look
        Gets the warnings.
    owners : mapping of str to mapping of str to str
        Person and stimulus of each recording, by its path.
    """
    files: dict[tuple, list[str]] = defaultdict(list)
    spellings: dict[str, set[str]] = defaultdict(set)
    contents = {
        name: tuple(sorted({stream.modality for stream in streams}))
        for name, streams in look.streams.items()
    }
    for name, own in owners.items():
        files[own["person"], own["stimulus"], contents.get(name)].append(name)
        spellings[own["person"].lower()].add(own["person"])
    shared = [names for names in files.values() if len(names) > 1]
    if shared:
        look.warnings.append(
            f"{' and '.join(shared[0][:2])} seem to be the same stimulus of the same "
            f"person, and {len(shared)} such in all; say in dataset.files what they "
            "are, or leave one out"
        )
    alike = sorted(min(names) for names in spellings.values() if len(names) > 1)
    if alike:
        look.warnings.append(
            f"names of people that differ in capital letters alone, as of "
            f"{name_some(alike)}, are taken for different people"
        )
    n_stimuli = len({own["stimulus"] for own in owners.values()})
    if n_stimuli > MOST_STIMULI:
        look.warnings.append(
            f"the paths seem to name {n_stimuli} stimuli, more than {MOST_STIMULI}; "
            "correct dataset.files: does {stimulus} stand for a person or a date?"
        )
