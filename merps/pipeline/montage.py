"""Channels of recordings to be predicted, against those a model was fitted on."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from merps.predictions import name_some
from merps.samples import Samples

logger = logging.getLogger(__name__)

_NAMES = {"eeg": "EEG", "fnirs": "fNIRS"}
#: Names of the 10-20 system that the 10-10 system gave to others.
_RENAMED = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


def match_montage(samples: Samples, names: Sequence[str]) -> Samples:
    """Name EEG channels as a model does, and tell of channels that it misses.

    ``Fcz`` is ``FCZ``, and ``T3``, ``T4``, ``T5`` and ``T6`` of the 10-20 system are
    ``T7``, ``T8``, ``P7`` and ``P8``. Names of fNIRS channels say nothing of where they
    are: they are the same only by the same name.

    Parameters
    ----------
    samples : Samples
        Of recordings to be predicted.
    names : sequence of str
        Features that a model was fitted on.

    Returns
    -------
    Samples
        The same columns, some under other names.
    """
    spelled = {_key(name): name for name in names if name.startswith("eeg/")}
    there, fitted = set(samples.feature_names), set(names)

    def as_fitted(name: str) -> str:
        if name in fitted:
            return name
        other = spelled.get(_key(name), name) if name.startswith("eeg/") else name
        return name if other in there else other

    named = replace(samples, feature_names=tuple(map(as_fitted, samples.feature_names)))
    for modality, word in _NAMES.items():
        wanted = _channels(names, modality)
        found = _channels(named.feature_names, modality)
        missing = [channel for channel in wanted if channel not in found]
        if not (missing and found):
            continue
        if len(missing) == len(wanted):
            logger.warning(
                "not one of the model's %d %s channels (%s) is among those recorded "
                "(%s), which tell it nothing",
                *(len(wanted), word, name_some(wanted), name_some(found)),
            )
        else:
            logger.warning(
                "%d of the model's %d %s channels were not recorded, and count as "
                "missing: %s",
                *(len(missing), len(wanted), word, name_some(missing)),
            )
    return named


def _key(name: str) -> str:
    """Return a feature of the EEG without regard to how its channel is spelled."""
    measure, _, channel = name.rpartition("/")
    upper = channel.upper()
    return f"{measure}/{_RENAMED.get(upper, upper)}"


def _channels(names: Iterable[str], modality: str) -> dict[str, None]:
    """List the channels of one modality that features are of, in their order."""
    rest = [n.split("/", 2)[2] for n in names if n.startswith(f"{modality}/")]
    if modality == "fnirs":
        rest = [text.rpartition("/")[0] for text in rest]
    return dict.fromkeys(rest)
