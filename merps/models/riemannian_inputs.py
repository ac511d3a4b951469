"""What a Riemannian model takes from samples, and how it is told from other data."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from merps.errors import InputError
from merps.models.inputs import window_facts
from merps.models.joint import PREFIXES
from merps.models.tangent import require_options
from merps.recording import Phase
from merps.samples import Block

#: Name of the block of each input.
BLOCK_OF_INPUT: Mapping[str, str] = {
    "eeg": "eeg_covariances",
    "eeg_delays": "eeg_windows",
    "fnirs": "fnirs_windows",
    "joint": "joint_windows",
}
#: Name of the block with the covariance of the EEG at rest, one row a person.
REST = "eeg_rest_covariances"
REFERENCES = ("person_rest", "person", "training")


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse parameters of a `RiemannianRegressor` that mean nothing.

    Parameters
    ----------
    given : mapping
        All of them.

    Raises
    ------
    InputError
        If one is out of its range.
    """
    inputs, reference = given["inputs"], given["reference"]
    once = len(set(inputs)) == len(inputs)
    if not inputs or not once or not set(inputs) <= {*BLOCK_OF_INPUT}:
        raise InputError(
            f"inputs={inputs!r} must be some of {', '.join(BLOCK_OF_INPUT)}, each once"
        )
    if reference not in REFERENCES:
        raise InputError(f"reference={reference!r} is none of {', '.join(REFERENCES)}")
    if given["phase"] not in get_args(Phase):
        raise InputError(
            f"phase={given['phase']!r} is none of {', '.join(get_args(Phase))}"
        )
    require_options(**{key: given[key] for key in ("metric", "method", "shrinkage")})
    if "eeg_delays" in inputs and not all(delay >= 1 for delay in given["delays"]):
        raise InputError(f"delays={given['delays']!r} must be positive")


def channel_sets(name: str, block: Block) -> list[np.ndarray]:
    """Return which channels of windows are reduced together.

    Parameters
    ----------
    name : str
        The input.
    block : Block
        Its windows.

    Returns
    -------
    list of ndarray of int
        All of them, or those of each modality for joint windows.
    """
    facts = window_facts(block)
    if name != "joint":
        return [np.arange(facts.n_folded)]
    named = np.array(facts.channels)
    return [np.flatnonzero(np.char.startswith(named, prefix)) for prefix in PREFIXES]


def layout_of(name: str, block: Block) -> tuple[str, ...]:
    """Tell what a block holds.

    Parameters
    ----------
    name : str
        The input.
    block : Block
        Its matrices or windows.

    Returns
    -------
    tuple of str
        One fact each, such as ``eeg channel Fz``.

    Raises
    ------
    InputError
        If the source does not tell.
    """
    if name != "eeg":
        facts = window_facts(block)
        lists = {"kind": facts.kinds, "channel": facts.channels}
        lists |= {"samples": (facts.n_times,), "rate_hz": (f"{facts.rate_hz:g}",)}
    elif hasattr(block.source, "channels") and hasattr(block.source, "bands"):
        lists = {"band": block.source.bands, "channel": block.source.channels}
    else:
        raise InputError(
            f"a {type(block.source).__name__} does not tell channels and bands of its "
            "matrices; keep them as StoredMatrices"
        )
    return tuple(f"{name} {what} {fact}" for what in lists for fact in lists[what])


def require_same_layout(
    found: tuple[str, ...], fitted: tuple[str, ...], name: str
) -> None:
    """Refuse a block of another kind than that fitted on.

    Parameters
    ----------
    found : tuple of str
        Facts of the block, from `layout_of`.
    fitted : tuple of str
        Facts of all blocks that were fitted on.
    name : str
        The input.

    Raises
    ------
    InputError
        If they differ.
    """
    expected = tuple(fact for fact in fitted if fact.startswith(f"{name} "))
    if found == expected:
        return
    odd = sorted(set(found) ^ set(expected))
    which = f"{odd[0]!r} is only in one of them" if odd else "their order differs"
    raise InputError(
        f"{name} signals are others than those this model was fitted on: {which}; "
        "prepare both the same way"
    )


def require_shapes(
    name: str,
    mean: np.ndarray | None,
    directions: np.ndarray,
    center: np.ndarray,
    turn: np.ndarray | None,
    *,
    n_rows: int,
) -> None:
    """Refuse arrays of an input that do not fit each other.

    Parameters
    ----------
    name : str
        The input.
    mean, directions, center, turn : ndarray or None
        What a model has learned of it; None where there is no such array.
    n_rows : int
        Rows of its recentered matrices.

    Raises
    ------
    InputError
        If one has another shape than the directions ask for, or is not of float64.
    """
    n_bands, n_channels, _ = directions.shape
    n_center = n_channels if name == "eeg" else n_rows
    for array, shape in (
        (directions, directions.shape),
        (mean, (1, n_channels, n_channels)),
        (center, (n_bands, n_center, n_center)),
        (turn, (n_bands, n_rows, n_rows)),
    ):
        if array is not None and (array.shape, array.dtype) != (shape, float):
            raise InputError(f"an array of {name} is not float64 of {shape}")
