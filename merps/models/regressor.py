"""One or two nets joined into a regressor of every second."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from merps.errors import InputError, mismatch
from merps.models.graph import GraphCrossAttention
from merps.models.inputs import JOINT
from merps.models.merging import merge_convolutions
from merps.models.nets import build_net, check_net_options, first_line

logger = logging.getLogger(__name__)

_TEMPORAL_TAPS = 5


class Regressor(nn.Module):
    """One or two branches, joined late, and a head over one or several seconds.

    A branch turns a window into an embedding; where its modality is missing, a learned
    vector stands for it (zero before training), so that the other branch still counts.
    The embeddings are joined and a linear head gives valence and arousal, or, for
    sequences, a temporal convolution over consecutive seconds of one trial, to which a
    second without any window is zero and marked as missing. A single branch without
    sequences is the net itself, with two outputs.

    Parameters
    ----------
    branches : mapping of str to Module
        By modality, each from (window, channel, time) to (window, embedding); or the
        one net of both under the key ``joint``.
    embedding : int
        Numbers that a branch gives for each window; 2 where `is_direct`.
    is_direct : bool
        Whether the one branch gives valence and arousal itself.
    is_sequential : bool
        Whether seconds are decoded together with those around them.
    """

    def __init__(
        self,
        branches: Mapping[str, nn.Module],
        *,
        embedding: int,
        is_direct: bool,
        is_sequential: bool,
    ):
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        width = embedding * len(branches)
        if len(branches) > 1:
            self.missing = nn.ParameterDict(
                {name: nn.Parameter(torch.zeros(embedding)) for name in branches}
            )
        if is_sequential:
            self.head = nn.Sequential(
                nn.Conv1d(width + 1, width, _TEMPORAL_TAPS, padding="same"),
                nn.ELU(),
                nn.Conv1d(width, 2, 1),
            )
        else:
            self.head = nn.Identity() if is_direct else nn.Linear(width, 2)
        self.offset = nn.Parameter(torch.zeros(2))
        self.is_sequential, self.width = is_sequential, width

    def embed(
        self,
        windows: Mapping[str, Float[torch.Tensor, "_ _ _"]],
        present: Mapping[str, Bool[torch.Tensor, " row"]],
    ) -> Float[torch.Tensor, "row embedding"]:
        """Turn the windows of each second into one vector.

        Parameters
        ----------
        windows : mapping of str to Tensor of float, shape (present, channel, time)
            By modality, those that are there, in the order of the seconds.
        present : mapping of str to Tensor of bool, shape (row,)
            Which seconds have a window of that modality.

        Returns
        -------
        Tensor of float, shape (row, embedding)
            The joined embeddings.
        """
        if "joint" in self.branches:
            return self.branches["joint"](windows, present)
        parts = []
        for name, branch in self.branches.items():
            there = present[name]
            found = branch(windows[name]) if len(windows[name]) else None
            if len(self.branches) == 1:
                return found
            part = self.missing[name].expand(len(there), -1)
            if found is not None:
                part = part.to(found.dtype).clone()
                part[there] = found
            parts.append(part)
        return torch.cat(parts, dim=1)

    def decode(
        self,
        embedded: Float[torch.Tensor, "row embedding"],
        places: Int[torch.Tensor, " row"],
        shape: tuple[int, int],
    ) -> Float[torch.Tensor, "row 2"]:
        """Turn embeddings into valence and arousal, scaled to about -1..1.

        Parameters
        ----------
        embedded : Tensor of float, shape (row, embedding)
            What `embed` gives.
        places : Tensor of int64, shape (row,)
            Where each second lies in the flattened sequences.
        shape : tuple of int
            Number of sequences and their length.

        Returns
        -------
        Tensor of float, shape (row, 2)
            One estimate a second.
        """
        if not self.is_sequential:
            return self.head(embedded).float() + self.offset
        marked = torch.cat([embedded, torch.ones_like(embedded[:, :1])], dim=1)
        grid = marked.new_zeros(shape[0] * shape[1], self.width + 1)
        grid = grid.index_copy(0, places, marked).unflatten(0, shape)
        decoded = self.head(grid.mT).mT.flatten(0, 1)
        return decoded.index_select(0, places).float() + self.offset


def build_regressor(
    shapes: Mapping[str, tuple[int, int, int]],
    rates_hz: Mapping[str, float],
    nets: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    embedding: int,
    sequence_s: int,
) -> Regressor:
    """Build branches and head with random weights.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Kinds, channels and samples of a window, by modality.
    rates_hz : mapping of str to float
        Sampling rates in hertz, by modality.
    nets : mapping of str to tuple
        Name and options of the net of each modality; `JOINT` for ``eeg`` takes both.
    embedding : int
        Numbers that each of two branches gives for a window.
    sequence_s : int
        Seconds of a trial that are decoded together.

    Returns
    -------
    Regressor
        In training mode.

    Raises
    ------
    InputError
        As `build_net`.
    """
    is_sequential = sequence_s > 1
    if "eeg" in nets and nets["eeg"][0] == JOINT:
        return Regressor(
            {"joint": _joint_net(shapes, rates_hz, embedding, nets["eeg"][1])},
            embedding=embedding,
            is_direct=False,
            is_sequential=is_sequential,
        )
    is_direct = len(nets) == 1 and not is_sequential
    width = 2 if is_direct else embedding
    branches = {
        modality: build_net(
            name,
            n_channels=shapes[modality][0] * shapes[modality][1],
            n_times=shapes[modality][2],
            rate_hz=rates_hz[modality],
            n_outputs=width,
            options=options,
        )
        for modality, (name, options) in nets.items()
    }
    return Regressor(
        branches, embedding=width, is_direct=is_direct, is_sequential=is_sequential
    )


def _joint_net(
    shapes: Mapping[str, tuple[int, int, int]],
    rates_hz: Mapping[str, float],
    embedding: int,
    options: Mapping[str, Any],
) -> GraphCrossAttention:
    """Build the net of both modalities, or say why that cannot be."""
    check_net_options(GraphCrossAttention, options)
    try:
        return GraphCrossAttention(shapes, rates_hz, embedding=embedding, **options)
    except InputError:
        raise
    except Exception as error:  # whatever the layers of torch trip over
        raise InputError(
            f"{JOINT} cannot be built with the options {dict(options)}: "
            f"{first_line(error)}; change the options"
        ) from error


def merge_branches(net: Regressor) -> Regressor:
    """Merge the convolutions of the branches that have such; parameters stay.

    Parameters
    ----------
    net : Regressor
        Changed in place; on the device it will be used on.

    Returns
    -------
    Regressor
        The same object.
    """
    for name, branch in net.branches.items():
        try:
            net.branches[name] = merge_convolutions(branch)
        except InputError:  # another kind of net, which trains as it is
            logger.debug("%s is used as it is", type(branch).__name__)
    return net


def load_weights(net: nn.Module, weights: Mapping[str, np.ndarray]) -> nn.Module:
    """Copy all weights into a net.

    Parameters
    ----------
    net : Module
        On the CPU; changed in place.
    weights : mapping of str to ndarray
        By the names of its state.

    Returns
    -------
    Module
        The same object.

    Raises
    ------
    InputError
        If a tensor is missing, left over, or of another precision or shape.
    """
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    odd = sorted(state.keys() ^ weights.keys())
    if odd:
        whose = "the net" if odd[0] in state else "the weights"
        raise InputError(f"weights_ and the net differ: only {whose} have {odd[0]:.80}")
    for name, array in weights.items():
        needed = state[name]
        if (array.dtype, array.shape) != (needed.dtype, needed.shape):
            raise InputError(
                f"weights_ {name} is of the wrong type or shape: {array.dtype} "
                f"{array.shape} instead of {needed.dtype} {needed.shape}"
            )
    for name, array in weights.items():
        np.copyto(state[name], array)
    return net


def load_pretrained(net: Regressor, path: Path) -> None:
    """Copy the weights whose name and shape match into a regressor.

    Names are those of the net for EEG (or the only one), or those that a model of this
    package has in its ``weights.safetensors``.

    Parameters
    ----------
    net : Regressor
        Changed in place.
    path : Path
        A file in the safetensors format; any other is refused and not opened.

    Raises
    ------
    InputError
        If the file is of another type, or nothing in it matches.
    DataError
        If the file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise InputError(
            f"{path}: pretrained weights are read from .safetensors files only, since "
            "other formats can execute code; convert the file where you trust it, with "
            "safetensors.torch.save_file(net.state_dict(), 'weights.safetensors')"
        )
    try:
        offered = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise mismatch(
            path,
            expected="weights in the safetensors format",
            found=first_line(error),
            remedy="take another file",
        ) from error
    branch = next(iter(net.branches.values()))
    own, whole = branch.state_dict(), net.state_dict()
    n_loaded, other = 0, []
    for name, tensor in offered.items():
        target = own.get(name, whole.get(name.removeprefix("weights_.")))
        if target is None or target.shape != tensor.shape:
            other.append(name)
        else:
            target.copy_(tensor)
            n_loaded += 1
    if not n_loaded:
        raise InputError(
            f"{path}: none of its {len(other)} tensors has the name and the shape of "
            f"one of the {len(own)} of {type(branch).__name__}, such as "
            f"{next(iter(own), 'none')!r}; take the weights of this very net"
        )
    logger.info("%s: %d of %d tensors loaded", path, n_loaded, len(offered))
    if other:
        logger.warning(
            "%s: %d of %d tensors do not fit this net and are left out, such as %s",
            path,
            len(other),
            len(offered),
            other[0],
        )
