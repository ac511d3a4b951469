"""What a net is trained to make small."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch.nn import functional

Loss: TypeAlias = Literal["l1", "huber", "ccc", "cross_entropy", "binary", "cosine"]

_HUBER_DELTA = 0.1  # of targets scaled to about -1..1: 12.7 points of the labels
_SMALLEST_VARIANCE = 1e-12


def ccc_loss(
    predicted: Float[torch.Tensor, "row 2"], targets: Float[torch.Tensor, "row 2"]
) -> Float[torch.Tensor, ""]:
    """Return 1 less the concordance correlation, the mean of both dimensions.

    Parameters
    ----------
    predicted, targets : Tensor of float, shape (row, 2)
        Valence and arousal, scaled to about -1..1.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    p, t = predicted - predicted.mean(0), targets - targets.mean(0)
    spread = p.square().mean(0) + t.square().mean(0)
    shift = (predicted.mean(0) - targets.mean(0)).square()
    spread = (spread + shift).clamp(min=_SMALLEST_VARIANCE)
    return 1 - (2 * (p * t).mean(0) / spread).mean()


def weighted_cross_entropy(
    predicted: Float[torch.Tensor, "row label"],
    targets: Float[torch.Tensor, "row label"],
) -> Float[torch.Tensor, ""]:
    """Return the mean cross-entropy of rows, each as heavy as its targets sum to.

    Parameters
    ----------
    predicted : Tensor of float, shape (row, label)
        Logits.
    targets : Tensor of float, shape (row, label)
        The weight of the row at its label, zero elsewhere.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    return -(targets * predicted.log_softmax(1)).sum() / targets.sum()


def cosine_loss(
    predicted: Float[torch.Tensor, "row axis"], targets: Float[torch.Tensor, "row axis"]
) -> Float[torch.Tensor, ""]:
    """Return 1 less the mean cosine of the angle between predictions and targets.

    Parameters
    ----------
    predicted, targets : Tensor of float, shape (row, axis)
        Vectors of any length.

    Returns
    -------
    Tensor of float, shape ()
        The loss.
    """
    return 1 - functional.cosine_similarity(predicted, targets).mean()


#: The first three take predictions and targets scaled to about -1..1, of shape
#: (row, 2); the others take logits or vectors, of shape (row, output).
LOSSES: Mapping[str, Callable] = {
    "l1": functional.l1_loss,
    "huber": functools.partial(functional.huber_loss, delta=_HUBER_DELTA),
    "ccc": ccc_loss,
    "cross_entropy": weighted_cross_entropy,
    "binary": functional.binary_cross_entropy_with_logits,
    "cosine": cosine_loss,
}
