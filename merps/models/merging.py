"""The convolutions of Shallow-type nets, merged to train several times faster."""

import copy
import itertools
import math

import torch
from jaxtyping import Complex, Float
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from merps.errors import InputError

_SHUFFLE = "batch C T 1 -> batch 1 T C"
_FAST_FACTORS = (2, 3, 5)


class MergedConvolution(nn.Module):
    """Convolve in time, then over channels, as one product per frequency.

    With temporal weights t and spatial weights s, filter o gives

        y[o, n] = b[o] + sum_c sum_k w[o, c, k] x[c, n + k],
        w[o, c, k] = sum_i s[o, i, c] t[i, k],

    computed as Y[f] = X[f] conj(W[f]) with the discrete Fourier transforms of windows
    and kernels: a complex product per channel and frequency, however long w is.
    The samples that the circular transform wraps around are dropped.

    Parameters
    ----------
    convolution : CombinedConv
        Layer to take over; its two convolutions become those of this module.
    """

    def __init__(self, convolution: nn.Module):
        super().__init__()
        self.conv_time = convolution.conv_time
        self.conv_spat = convolution.conv_spat

    def forward(
        self, windows: Float[torch.Tensor, "window channel time 1"]
    ) -> Float[torch.Tensor, "window filter valid 1"]:
        """Convolve all windows.

        Parameters
        ----------
        windows : Tensor of float, shape (window, channel, time, 1)
            Any unit; a NaN makes every sample of its window NaN.

        Returns
        -------
        Tensor of float, shape (window, filter, time - taps + 1, 1)
            Filtered windows, in the unit of the weights times that of `windows`.

        Raises
        ------
        InputError
            If there are no windows, they are shorter than the temporal filters, or
            they do not have as many channels as the spatial ones.
        """
        time_ik = self.conv_time.weight[:, 0, :, 0]
        space_oic = self.conv_spat.weight[:, :, 0]
        n_channels = space_oic.shape[2]
        n_taps, n_times = time_ik.shape[1], windows.shape[2]
        if windows.shape[1] != n_channels or n_times < n_taps or not len(windows):
            raise InputError(
                f"windows have the shape {tuple(windows.shape[:3])}, but this net "
                f"needs at least one window, {n_channels} channels and at least "
                f"{n_taps} samples, the length of its temporal filters"
            )
        with torch.autocast(windows.device.type, enabled=False):  # complex has no half
            kernel_kco = torch.einsum("oic,ik->kco", space_oic, time_ik)
            y_wot = _Correlation.apply(windows.squeeze(3), kernel_kco)
        bias = self._bias()
        if bias is not None:
            y_wot = y_wot + bias[:, None]
        return y_wot.unsqueeze(3)

    def _bias(self) -> Float[torch.Tensor, " filter"] | None:
        """Carry the temporal biases through the spatial filters and add theirs."""
        time, space = self.conv_time.bias, self.conv_spat.bias
        if time is None:
            return space
        carried = self.conv_spat.weight[:, :, 0].sum(2) @ time
        return carried if space is None else carried + space


class _Correlation(torch.autograd.Function):
    """Correlate windows with kernels, both ways by products of Fourier transforms."""

    @staticmethod
    def forward(
        ctx,
        x_wct: Float[torch.Tensor, "window channel time"],
        kernel_kco: Float[torch.Tensor, "tap channel filter"],
    ) -> Float[torch.Tensor, "window filter valid"]:
        """Return irfft(rfft(x) conj(rfft(kernel))) without what is wrapped around."""
        n_taps, n_times = kernel_kco.shape[0], x_wct.shape[2]
        n_fft = _fast_length(n_times)
        cosine_fk, sine_fk = _waves(n_fft, n_taps, like=kernel_kco)
        flat = kernel_kco.flatten(1)
        conjugate_fco = torch.complex(cosine_fk @ flat, sine_fk @ flat)
        conjugate_fco = conjugate_fco.unflatten(1, kernel_kco.shape[1:])
        spectrum_fwc = _spectrum(x_wct, n_fft)
        ctx.save_for_backward(spectrum_fwc, conjugate_fco, cosine_fk, sine_fk)
        ctx.lengths = n_fft, n_times
        y_wot = _samples(spectrum_fwc @ conjugate_fco, n_fft)
        return y_wot[..., : n_times - n_taps + 1]

    @staticmethod
    @once_differentiable
    def backward(
        ctx, slope_wot: Float[torch.Tensor, "window filter valid"]
    ) -> tuple[
        Float[torch.Tensor, "window channel time"] | None,
        Float[torch.Tensor, "tap channel filter"],
    ]:
        """Return irfft(rfft(slope) rfft(kernel)), irfft(rfft(x) conj(rfft(slope)))."""
        spectrum_fwc, conjugate_fco, cosine_fk, sine_fk = ctx.saved_tensors
        n_fft, n_times = ctx.lengths
        slope_fwo = _spectrum(slope_wot, n_fft).conj_physical_()
        slope_x = None
        if ctx.needs_input_grad[0]:
            product_fwc = slope_fwo @ conjugate_fco.mT
            slope_x = _samples(product_fwc.conj(), n_fft)[..., :n_times]
        product_fco = spectrum_fwc.mT @ slope_fwo
        share_f = torch.full_like(cosine_fk[:, :1], 2 / n_fft)
        share_f[:: n_fft // 2 if n_fft % 2 == 0 else n_fft] = 1 / n_fft
        slope_kernel = (share_f * cosine_fk).T @ product_fco.real.flatten(1)
        slope_kernel -= (share_f * sine_fk).T @ product_fco.imag.flatten(1)
        return slope_x, slope_kernel.unflatten(1, product_fco.shape[1:])


class MeanPool(nn.Module):
    """Average over time only, which is several times faster than in a plane.

    Parameters
    ----------
    length, stride : int
        Length of what is averaged, and distance between two starts, in samples.
    """

    def __init__(self, length: int, stride: int):
        super().__init__()
        self.length, self.stride = length, stride

    def forward(
        self, x: Float[torch.Tensor, "window filter time 1"]
    ) -> Float[torch.Tensor, "window filter pool 1"]:
        """Average.

        Parameters
        ----------
        x : Tensor of float, shape (window, filter, time, 1)
            Any unit; NaN wins.

        Returns
        -------
        Tensor of float, shape (window, filter, pool, 1)
            Means of the spans that fit in whole, in the unit of `x`.
        """
        return functional.avg_pool1d(x.squeeze(3), self.length, self.stride)[..., None]


def merge_convolutions(net: nn.Module) -> nn.Module:
    """Return a net that computes the same and trains faster on the CPU.

    Temporal and spatial convolution become a `MergedConvolution`, a mean over time
    becomes a `MeanPool`; all else is copied. Parameters and buffers are not copied but
    shared: an optimizer, a state or a training step of either net is one of both. Move
    a net to a device or a precision before it is merged, since torch then gives it new
    buffers. `copy.deepcopy` of the result shares nothing.

    Parameters
    ----------
    net : ShallowFBCSPNet, Deep4Net or a Sequential with their first layers
        Left as it is.

    Returns
    -------
    Module
        Net of the same class, training mode and state; outputs agree to rounding.

    Raises
    ------
    InputError
        If the net has no `CombinedConv` behind a `Rearrange` from
        (batch, channel, time, 1) to (batch, 1, time, channel).
    """
    children = list(net.named_children()) if isinstance(net, nn.Sequential) else []
    if any(isinstance(child, MergedConvolution) for _, child in children):
        raise InputError(f"the convolutions of this {type(net).__name__} are merged")
    pair = next(filter(_mergeable, itertools.pairwise(children)), None)
    if pair is None:
        raise InputError(
            f"{type(net).__name__} does not start with a temporal and a spatial "
            "convolution that can be merged: needed is a Sequential with a "
            f"CombinedConv right behind Rearrange({_SHUFFLE!r}), as in "
            "ShallowFBCSPNet and Deep4Net; train this net as it is"
        )
    (shuffle, _), (convolution, _) = pair
    tensors = itertools.chain(net.parameters(), net.buffers())
    merged = copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})
    setattr(merged, shuffle, nn.Identity())
    setattr(merged, convolution, MergedConvolution(getattr(merged, convolution)))
    for name, child in merged.named_children():
        if isinstance(child, nn.AvgPool2d) and _only_over_time(child):
            setattr(merged, name, MeanPool(child.kernel_size[0], child.stride[0]))
    return merged.train(net.training)


def _mergeable(pair: tuple[tuple[str, nn.Module], tuple[str, nn.Module]]) -> bool:
    """Tell whether two neighbors are a convolution and what turns windows for it."""
    from braindecode.modules import CombinedConv  # takes seconds; the net's own did

    (_, first), (_, second) = pair
    return (
        getattr(first, "pattern", None) == _SHUFFLE  # einops.layers.torch.Rearrange
        and type(second) is CombinedConv
    )


def _only_over_time(pool: nn.AvgPool2d) -> bool:
    """Tell whether a pool is a plain mean over spans of the third axis."""
    return (
        isinstance(pool.kernel_size, tuple)
        and isinstance(pool.stride, tuple)
        and (pool.kernel_size[1], pool.stride[1], pool.padding) == (1, 1, 0)
        and not pool.ceil_mode
        and pool.divisor_override is None
    )


def _fast_length(n_times: int) -> int:
    """Return the next length whose Fourier transform has small factors only."""
    length = n_times
    while True:
        rest = length
        for factor in _FAST_FACTORS:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _waves(
    n_fft: int, n_taps: int, *, like: torch.Tensor
) -> tuple[Float[torch.Tensor, "frequency tap"], Float[torch.Tensor, "frequency tap"]]:
    """Return cosines and sines of all frequencies at the first samples."""
    turns = torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_taps)) % n_fft
    angles = turns.double() * (2 * math.pi / n_fft)
    return angles.cos().to(like), angles.sin().to(like)


def _spectrum(
    x_wct: Float[torch.Tensor, "window channel time"], n_fft: int
) -> Complex[torch.Tensor, "frequency window channel"]:
    """Return the Fourier transforms, one contiguous matrix a frequency."""
    return torch.fft.rfft(x_wct, n=n_fft).permute(2, 0, 1).contiguous()


def _samples(
    spectrum_fwc: Complex[torch.Tensor, "frequency window channel"], n_fft: int
) -> Float[torch.Tensor, "window channel time"]:
    """Transform back."""
    return torch.fft.irfft(spectrum_fwc.permute(1, 2, 0), n=n_fft)
