"""What a net takes from samples: windows by modality, their facts and their scale."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool, Float64

from merps.errors import InputError
from merps.models.alignment import (
    Alignment,
    Scaling,
    standardize_groups,
    whiten_groups,
)
from merps.models.rows import encode, inner_groups
from merps.samples import Block, Samples

#: Name of the block of each modality.
BLOCK_OF_MODALITY: Mapping[str, str] = {"eeg": "eeg_windows", "fnirs": "fnirs_windows"}
#: The net of both modalities at once, which is merps' own.
JOINT = "GraphCrossAttention"

_MIDDLE, _HALF_RANGE = 128.0, 127.0
_CHOICES = {
    "loss": ("l1", "huber", "ccc"),
    "alignment": ("none", "person", "whiten"),
    "device": ("cpu", "cuda", "mps"),
}
_COUNTS = ("embedding", "sequence_s", "batch_size", "epochs", "patience", "threads")


class WindowFacts(NamedTuple):
    """What has to agree between windows to learn from and windows to predict from.

    Parameters
    ----------
    channels, kinds : tuple of str
        Names; there may be no kinds.
    n_times : int
        Samples in a window.
    rate_hz : float
        Sampling rate in hertz.
    """

    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    n_times: int
    rate_hz: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Kinds, at least one, channels and samples."""
        return max(len(self.kinds), 1), len(self.channels), self.n_times

    @property
    def n_folded(self) -> int:
        """Channels times kinds."""
        return self.shape[0] * self.shape[1]


FACTS = WindowFacts._fields


def check_parameters(given: Mapping[str, Any]) -> None:
    """Refuse parameters of a `ConvolutionalRegressor` that mean nothing.

    Parameters
    ----------
    given : mapping
        All of them.

    Raises
    ------
    InputError
        If one is out of its range, or there is no net.
    """
    for name, known in _CHOICES.items():
        if given[name] not in known:
            raise InputError(f"{name}={given[name]!r} is none of {', '.join(known)}")
    for name in _COUNTS:
        if not given[name] >= 1:
            raise InputError(f"{name} must be at least 1, got {given[name]}")
    if not 0 <= given["held_out"] < 1:
        raise InputError(f"held_out must lie in [0, 1), got {given['held_out']}")
    if not (given["net"] or given["fnirs_net"]):
        raise InputError("net and fnirs_net are both absent; name at least one net")
    if given["net"] == JOINT and given["fnirs_net"]:
        raise InputError(f"{JOINT} takes fNIRS itself; leave fnirs_net out")


def window_facts(block: Block) -> WindowFacts:
    """Return what the windows of a block are.

    Parameters
    ----------
    block : Block
        Its source has a ``format``, as `merps.batches.WindowSet` does.

    Returns
    -------
    WindowFacts
        What has to be the same when predicting.

    Raises
    ------
    InputError
        If the source does not tell.
    """
    form = getattr(block.source, "format", None)
    if form is None:
        raise InputError(
            f"a {type(block.source).__name__} does not tell channels and rate of its "
            "windows; give it a `format`, as that of WindowSet"
        )
    return WindowFacts(
        form.channels, form.kinds, int(form.n_times), float(form.rate_hz)
    )


def require_same_windows(samples: Samples, facts: Mapping[str, WindowFacts]) -> None:
    """Refuse windows of another kind than those fitted on.

    Parameters
    ----------
    samples : Samples
        Rows to predict; a modality whose block is absent is passed over.
    facts : mapping of str to WindowFacts
        Of the training rows, by modality.

    Raises
    ------
    InputError
        If channels, kinds, lengths or rates differ.
    """
    for modality, expected in facts.items():
        if BLOCK_OF_MODALITY[modality] not in samples.blocks:
            continue
        found = window_facts(samples.blocks[BLOCK_OF_MODALITY[modality]])
        for part, there, needed in zip(FACTS, found, expected, strict=True):
            if there != needed:
                raise InputError(
                    f"{modality} windows have {part} {there!s:.80}, but this model "
                    f"was fitted on {needed!s:.80}; prepare both the same way"
                )


def measure_scalings(
    samples: Samples, modalities: Collection[str], alignment: Alignment
) -> dict[str, Scaling]:
    """Measure means and gains of channels, from windows alone.

    Parameters
    ----------
    samples : Samples
        Rows with blocks of windows; labels are not looked at.
    modalities : collection of str
        Which ones; those whose block is absent are passed over.
    alignment : str
        ``none`` for one scaling of all rows, ``person`` for one a person, ``whiten``
        for one a person that whitens EEG.

    Returns
    -------
    dict of Scaling
        By modality; people in ascending order.
    """
    from threadpoolctl import threadpool_limits

    names, people = encode(samples.people)
    if alignment == "none":
        names, people = ("all",), np.zeros(len(samples), dtype=np.int64)
    scalings = {}
    for modality in modalities:
        block = samples.blocks.get(BLOCK_OF_MODALITY[modality])
        whiten = alignment == "whiten" and modality == "eeg"
        measure = whiten_groups if whiten else standardize_groups
        if block is not None:
            with threadpool_limits(1, user_api="blas"):  # equal sums always
                scalings[modality] = measure(block, people, n_groups=len(names))
    return scalings


def choose_held_out(
    samples: Samples, *, share: float, seed: int
) -> Bool[np.ndarray, " sample"]:
    """Choose the people, or stimuli, that tell when training should end.

    Parameters
    ----------
    samples : Samples
        Labeled rows.
    share : float
        Of the people where there are at least three, else of the stimuli; at least
        one of them, and never all. Zero holds out nobody.
    seed : int
        Decides who.

    Returns
    -------
    ndarray of bool, shape (sample,)
        True for rows that are held out.
    """
    groups = inner_groups(samples)
    if groups is None or share == 0:
        return np.zeros(len(samples), dtype=bool)
    n_groups = int(groups.max()) + 1
    n_held_out = min(max(1, round(share * n_groups)), n_groups - 1)
    order = np.random.default_rng([seed, n_groups]).permutation(n_groups)
    return np.isin(groups, order[:n_held_out])


def digest_training(
    samples: Samples,
    options: Mapping[str, Any],
    state: Mapping[str, Any],
    scalings: Mapping[str, Scaling],
) -> str:
    """Digest all that determines a training.

    Signals count through the scale of their channels, and a file of pretrained weights
    through the weights that training starts from.

    Parameters
    ----------
    samples : Samples
        Training rows with targets.
    options : mapping
        Parameters of the model.
    state : mapping of str to Tensor
        Weights before training, on the CPU.
    scalings : mapping of str to Scaling
        By modality.

    Returns
    -------
    str
        A hexadecimal number.
    """
    import torch

    named = {key: value for key, value in options.items() if key != "pretrained"}
    facts = [torch.__version__, named, samples.ids]
    facts += [
        (modality, window_facts(samples.blocks[BLOCK_OF_MODALITY[modality]]))
        for modality in scalings
    ]
    text = json.dumps(facts, sort_keys=True, default=str)
    digest = xxhash.xxh3_128(text.encode())
    arrays = [samples.require_targets(), *(t.numpy() for t in state.values())]
    for modality, scaling in scalings.items():
        rows = samples.blocks[BLOCK_OF_MODALITY[modality]].rows
        arrays += [rows, scaling.mean, scaling.gain]
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def scale_targets(
    targets: Float64[np.ndarray, "*row 2"],
) -> Float64[np.ndarray, "*row 2"]:
    """Bring labels to the range of a net.

    Parameters
    ----------
    targets : ndarray of float64, shape (..., 2)
        On the scale 1..255.

    Returns
    -------
    ndarray of float64, shape (..., 2)
        From -1 to 1.
    """
    return (targets - _MIDDLE) / _HALF_RANGE


def unscale_targets(
    outputs: Float64[np.ndarray, "*row 2"],
) -> Float64[np.ndarray, "*row 2"]:
    """Undo `scale_targets`.

    Parameters
    ----------
    outputs : ndarray of float64, shape (..., 2)
        From -1 to 1.

    Returns
    -------
    ndarray of float64, shape (..., 2)
        On the scale 1..255.
    """
    return _MIDDLE + _HALF_RANGE * outputs
