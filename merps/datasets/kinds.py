"""A first look at the fNIRS of a folder: what can be kept of it."""

from collections import Counter
from collections.abc import Sequence

from merps.datasets.looking import Look
from merps.recording import Recording
from merps.repair_options import ShortChannelConfig

#: Channels up to this length, in meters, see the scalp alone.
_SHORT_M = ShortChannelConfig().max_short_m


def propose_kinds(look: Look) -> list[str]:
    """Say what is kept of the fNIRS.

    Parameters
    ----------
    look : Look
        Recordings; gets warnings.

    Returns
    -------
    list of str
        Lines of the configuration; none without fNIRS.
    """
    headers = [stream.header for stream in look.of("fnirs")]
    if not headers:
        return []
    blood = [header for header in headers if len(header.kinds) >= 2]
    others = Counter(header.kinds for header in headers if len(header.kinds) < 2)
    by_kinds = ", ".join(f"{'/'.join(own)} ({n})" for own, n in others.items())
    if blood and others:
        look.warnings.append(
            f"{by_kinds}: files of one kind of fNIRS, of which no concentrations can "
            "be made; their trials will be refused"
        )
    if blood:
        return _optics_lines(blood)
    if len(others) > 1:
        look.warnings.append(
            f"fNIRS of several kinds, preprocess one at a time: {by_kinds}"
        )
    kinds = others.most_common(1)[0][0]
    listed = f"[{', '.join(kinds)}]"
    return [
        "",
        "preprocess:",
        "  fnirs:",
        f"    kinds: {listed}   # what the files hold: no concentration without",
        "                      # two wavelengths",
        "    quality:",
        "      flat_range: 0.0 # in the unit of the files; 0: only constant is flat",
        "",
        "features:",
        f"  kinds: {listed}",
    ]


def _optics_lines(headers: Sequence[Recording]) -> list[str]:
    """Return the part that says how light becomes concentrations."""
    lines = [
        "",
        "preprocess:",
        "  fnirs:              # light becomes concentrations of HbO, HbR and HbT",
        "    quality:",
        "      flat_range: 0.0 # in the unit of the files; 0: only constant is flat",
    ]
    light = [header for header in headers if header.kinds[0].endswith("nm")]
    if any(min(header.distances_m or (1.0,)) <= _SHORT_M for header in light):
        lines.append(
            f"    short_channels: {{max_short_m: {_SHORT_M}}} # what they see is taken "
            "out of the others, and they are left out"
        )
    if light:
        lines += [
            "    optics:",
            "      age_y: 25.0     # of the people, for the path of light: correct it",
        ]
    if any(header.distances_m is None for header in light):
        lines.append("      distance_m: 0.03 # a guess: some files state no distances")
    return lines
