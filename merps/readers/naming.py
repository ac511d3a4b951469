"""What a channel is, told by its name where the file does not know better."""

import re
from collections.abc import Sequence

#: Types by what a name begins with, after EEG was taken away; the first match counts.
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"(ecg|ekg)", "ecg"),
        (r"([hv]?eog|loc|roc)([^a-z]|$|[lrud]$)", "eog"),
        (r"(emg|chin)", "emg"),
        (r"(status|sti|stim|trig|trigger|event|marker)s?[ _-]?\d*$", "stim"),
        (r"(resp|airflow|gsr|eda|ppg|pleth|spo2|temp|acc|gyro|photo)", "misc"),
        # The difference of two references says nothing about the scalp.
        (r"(a1|a2|m1|m2)-(a1|a2|m1|m2)$", "misc"),
    )
)
#: What EDF puts before a name, and references that it puts behind it.
_PREFIX = re.compile(r"^(EEG|ECG|EOG|EMG)[ _-]+(?=\S)", re.IGNORECASE)
_SUFFIX = re.compile(r"[-_](REF|LE|AR|AVG)$", re.IGNORECASE)


def clean_name(name: str) -> str:
    """Return a channel's name without decoration.

    Parameters
    ----------
    name : str
        Such as ``EEG Fc5.`` or ``EEG Cz-REF``.

    Returns
    -------
    str
        Such as ``Fc5`` and ``Cz``: without the kind that EDF puts before it, the
        reference behind it, and dots and spaces around it.
    """
    bare = _SUFFIX.sub("", _PREFIX.sub("", name.strip()).strip(". "))
    return bare or name


def clean_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names without decoration, unless two would become one.

    Parameters
    ----------
    names : sequence of str
        As in the file.

    Returns
    -------
    tuple of str
        All cleaned, or only those that stay unique.
    """
    cleaned = [clean_name(name) for name in names]
    count = {name: cleaned.count(name) for name in cleaned}
    return tuple(
        new if count[new] == 1 else old for new, old in zip(cleaned, names, strict=True)
    )


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names with numbers behind those that come several times, as MNE does.

    Parameters
    ----------
    names : sequence of str
        As in the file.

    Returns
    -------
    tuple of str
        Such as ``Cz-0``, ``Pz`` and ``Cz-1``, each once.
    """
    found: list[str] = []
    for row, name in enumerate(names):
        number = names[:row].count(name)
        is_shared = number or name in names[row + 1 :]
        new = f"{name}-{number}" if is_shared else name
        while new in found or (is_shared and new in names):
            number += 1
            new = f"{name}-{number}"
        found.append(new)
    return tuple(found)


def type_by_name(name: str, stated: str) -> str:
    """Correct the type of a channel by its name.

    Only what a file calls EEG is in question: files that know no types call everything
    so.

    Parameters
    ----------
    name : str
        As in the file.
    stated : str
        Type that the file states, or that its reader guessed.

    Returns
    -------
    str
        The same, or ``ecg``, ``eog``, ``emg``, ``stim`` or ``misc``.
    """
    if stated != "eeg":
        return stated
    prefix = _PREFIX.match(name.strip())
    if prefix and prefix[1].lower() != "eeg":
        return prefix[1].lower()
    bare = clean_name(name)
    return next((kind for rule, kind in _RULES if rule.match(bare)), "eeg")
