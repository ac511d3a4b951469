"""Units as files write them."""

import unicodedata

from merps.interchange import VOLTS

_WORDS = {
    **{"volt": 1.0, "volts": 1.0, "millivolt": 1e-3, "millivolts": 1e-3},
    **{"microvolt": 1e-6, "microvolts": 1e-6, "microv": 1e-6},
}
#: The sign for micro as Japanese devices write it, read as Latin-1.
_MICRO_SJIS = "\x83\xca"


def plain_unit(unit: str) -> str:
    """Return a unit in lower case, with u for micro.

    Parameters
    ----------
    unit : str
        As written.

    Returns
    -------
    str
        Such as ``uv``.
    """
    text = unicodedata.normalize("NFKC", unit.strip().replace(_MICRO_SJIS, "u"))
    return text.lower().replace("\u03bc", "u")


def volts_in(unit: str) -> float | None:
    """Return the factor of a unit to volts.

    Parameters
    ----------
    unit : str
        As written, in any case.

    Returns
    -------
    float or None
        None where it is no unit of voltage that is known.
    """
    known = {plain_unit(name): scale for name, scale in VOLTS.items()} | _WORDS
    return known.get(plain_unit(unit))
