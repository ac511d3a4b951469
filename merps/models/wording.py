"""What a fusion has chosen, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from merps.models.fusion import KINDS

_DIMENSIONS = ("valence", "arousal")


def tell_gains(
    facts: Sequence[Mapping[str, Any]], *, kinds: Sequence[str] = KINDS
) -> tuple[str, ...]:
    """Say in words what a fusion adds to its prior.

    Parameters
    ----------
    facts : sequence of mapping
        `ResidualFusion.facts` of one fit, or of several folds, which are averaged;
        those of other models have nothing to tell.
    kinds : sequence of str
        ``known`` stimuli, ``new`` ones, or both.

    Returns
    -------
    tuple of str
        One sentence for each dimension and kind, as "valence, known videos: 0.6 of
        bandpower + 0.2 of riemannian, smoothed over 15 s", and one about the prior;
        none where no fusion was fitted.
    """
    fits = [own for own in facts if set(KINDS) <= set(own)]
    if not fits:
        return ()
    return tuple(
        f"{dimension}, {kind} videos: {_tell([own[kind] for own in fits], k)}"
        for k, dimension in enumerate(_DIMENSIONS)
        for kind in kinds
    ) + _tell_shrinkage([own[kind] for own in fits for kind in kinds])


def _tell(fits: Sequence[Mapping[str, Any]], k: int) -> str:
    """Say what is added in one dimension for stimuli of one kind."""
    judged = [own for own in fits if own["inner_mae"][k] is not None]
    if not judged:
        return "too little to judge by, so the prior alone answers"
    adding = [own for own in judged if any(row[k] for row in own["gain"].values())]
    if not adding:
        return "the signals add nothing, so the prior alone answers"
    names = sorted({name for own in adding for name in own["gain"]})
    means = {
        name: np.mean([own["gain"].get(name, (0, 0))[k] for own in fits])
        for name in names
    }
    parts = [f"{mean:.2g} of {name}" for name, mean in means.items() if mean > 0]
    widths_s = sorted({own["width_s"][k] for own in adding})
    errors = [
        np.mean([own[key][k] for own in judged])
        for key in ("prior_inner_mae", "inner_mae")
    ]
    text = " + ".join(parts) + _tell_smoothing(widths_s)
    text += ", MAE {:.1f} -> {:.1f} in held-out training data".format(*errors)
    if len(fits) > 1:
        without = len(fits) - len(adding)
        exceptions = f", nothing in {without}" if without else ""
        text += f" (means of {len(fits)} folds{exceptions})"
    return text


def _tell_shrinkage(fits: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Say what is gained without signals, where the prior is of ratings of others."""
    shares = [own["shrinkage"] for own in fits if any(own.get("shrinkage", ()))]
    if not shares:
        return ()
    drawn = " and ".join(
        f"{mean:.0%} ({dimension})"
        for mean, dimension in zip(np.mean(shares, axis=0), _DIMENSIONS, strict=True)
    )
    return (f"prior, known videos: drawn {drawn} to the median; needs no signals",)


def _tell_smoothing(widths_s: Sequence[float]) -> str:
    """Say over how many seconds additions are averaged."""
    low, high = widths_s[0], widths_s[-1]
    if high <= 1:
        return ", not smoothed"
    return (
        f", smoothed over {low:g} s"
        if low == high
        else (f", smoothed over {low:g} to {high:g} s")
    )
