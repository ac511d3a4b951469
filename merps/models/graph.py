"""A small net of both modalities: EEG channels as a graph that looks at fNIRS."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import nn
from torch.nn import functional

from merps.errors import InputError

_BANDS_HZ = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
_SMALLEST_POWER = 1e-6


class GraphCrossAttention(nn.Module):
    """Let a graph of EEG channels attend to fNIRS channels.

    Nodes are EEG channels with the logarithm of their power in five bands (delta to
    gamma, from the discrete Fourier transform under a Hann window). Two graph
    convolutions over one learned, symmetric adjacency A,

        h <- elu(h W + D^-1/2 A D^-1/2 h V),

    follow, then cross-attention from nodes to fNIRS channels, which are described by
    mean and slope of each kind, and a mean over nodes. A learned token stands beside
    the fNIRS channels, and is all there is to look at where fNIRS is missing; a learned
    vector stands for all nodes where EEG is.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Kinds, channels and samples of a window of ``eeg``, and of ``fnirs`` if there.
    rates_hz : mapping of str to float
        Sampling rates in hertz.
    embedding : int
        Numbers given for each window.
    width : int
        Features of a node and of a token; a multiple of `heads`.
    heads : int
        Attention heads.
    dropout : float
        Share of features that is dropped in training.

    Raises
    ------
    InputError
        If there are fewer than two EEG channels, windows are too short for the lowest
        band, or the width is no positive multiple of the heads.

    References
    ----------
    T. Song, W. Zheng, P. Song, Z. Cui, EEG emotion recognition using dynamical graph
    convolutional neural networks, IEEE Transactions on Affective Computing 11, 2020.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int, int]],
        rates_hz: Mapping[str, float],
        *,
        embedding: int = 16,
        width: int = 32,
        heads: int = 4,
        dropout: float = 0.25,
    ):
        super().__init__()
        _, n_nodes, n_times = shapes["eeg"]
        is_divided = min(width, heads) > 0 and width % heads == 0
        if n_nodes < 2 or not is_divided or n_times / rates_hz["eeg"] < 1:
            raise InputError(
                f"GraphCrossAttention needs two EEG channels, windows of 1 s and a "
                f"positive width that heads divide; got {n_nodes} channels, "
                f"{n_times / rates_hz['eeg']:g} s, width={width} and heads={heads}"
            )
        freqs = torch.fft.rfftfreq(n_times, 1 / rates_hz["eeg"])
        bands = [(freqs >= low) & (freqs < high) for low, high in _BANDS_HZ]
        bands = torch.stack([band for band in bands if band.any()]).float()
        bands /= bands.sum(1, keepdim=True)
        self.register_buffer("bands", bands.T.contiguous(), persistent=False)
        taper = torch.hann_window(n_times, periodic=False)
        taper = taper / taper.square().sum().sqrt()
        self.register_buffer("taper", taper, persistent=False)
        n_bands = len(bands)
        self.scale = nn.BatchNorm1d(n_bands)
        self.adjacency = nn.Parameter(torch.rand(n_nodes, n_nodes) / n_nodes)
        self.own = nn.ModuleList(nn.Linear(n_in, width) for n_in in (n_bands, width))
        self.other = nn.ModuleList(
            nn.Linear(n_in, width, bias=False) for n_in in (n_bands, width)
        )
        self.absent = nn.Parameter(torch.zeros(width))
        if "fnirs" in shapes:
            n_kinds, n_tokens, _ = shapes["fnirs"]
            self.n_kinds = n_kinds
            self.token = nn.Linear(2 * n_kinds, width)
            self.position = nn.Parameter(0.02 * torch.randn(n_tokens, width))
            self.nothing = nn.Parameter(0.02 * torch.randn(width))
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(width, embedding)

    def forward(
        self,
        windows: Mapping[str, Float[torch.Tensor, "_ _ _"]],
        present: Mapping[str, Bool[torch.Tensor, " row"]],
    ) -> Float[torch.Tensor, "row embedding"]:
        """Embed seconds.

        Parameters
        ----------
        windows : mapping of str to Tensor of float, shape (present, channel, time)
            By modality, those that are there; kinds of fNIRS folded into its channels.
        present : mapping of str to Tensor of bool, shape (row,)
            Which seconds have a window of that modality.

        Returns
        -------
        Tensor of float, shape (row, embedding)
            One vector a second.
        """
        there = present["eeg"]
        nodes = self.absent.expand(len(there), len(self.adjacency), -1)
        if len(windows["eeg"]):
            found = self._nodes(windows["eeg"])
            nodes = nodes.to(found.dtype).clone()
            nodes[there] = found
        if hasattr(self, "attention"):
            tokens, hidden = self._tokens(windows["fnirs"], present["fnirs"])
            seen, _ = self.attention(
                nodes, tokens, tokens, key_padding_mask=hidden, need_weights=False
            )
            nodes = self.norm(nodes + seen)
        return self.embedding(self.dropout(functional.elu(nodes.mean(1))))

    def _nodes(
        self, x_wct: Float[torch.Tensor, "window channel time"]
    ) -> Float[torch.Tensor, "window channel feature"]:
        """Describe EEG channels by themselves and by their neighbors."""
        with torch.autocast(x_wct.device.type, enabled=False):  # complex has no half
            spectrum = torch.fft.rfft(x_wct.float() * self.taper)
            power = torch.view_as_real(spectrum).square().sum(-1) @ self.bands
            power_wcf = (power + _SMALLEST_POWER).log()
        h = self.scale(power_wcf.mT).mT
        weights = functional.relu(self.adjacency + self.adjacency.T)
        root = weights.sum(1).clamp(min=_SMALLEST_POWER).rsqrt()
        weights = root[:, None] * weights * root
        for own, other in zip(self.own, self.other, strict=True):
            h = self.dropout(functional.elu(own(h) + other(weights.to(h) @ h)))
        return h

    def _tokens(
        self,
        x_wct: Float[torch.Tensor, "_ channel time"],
        there: Bool[torch.Tensor, " row"],
    ) -> tuple[
        Float[torch.Tensor, "row token feature"], Bool[torch.Tensor, "row token"]
    ]:
        """Describe fNIRS channels by mean and slope; the last token is always there."""
        n_rows, n_tokens = len(there), len(self.position)
        x_wkct = x_wct.unflatten(1, (self.n_kinds, n_tokens))
        ramp = torch.linspace(-1, 1, x_wct.shape[2], device=x_wct.device)
        ramp = ramp / ramp.square().sum().clamp(min=_SMALLEST_POWER)
        facts = torch.cat([x_wkct.mean(3), x_wkct @ ramp], dim=1).mT
        tokens = self.nothing.expand(n_rows, n_tokens + 1, -1)
        if len(facts):
            found = self.token(facts) + self.position
            tokens = tokens.to(found.dtype).clone()
            tokens[there, :-1] = found
        hidden = torch.zeros(
            n_rows, n_tokens + 1, dtype=torch.bool, device=there.device
        )
        hidden[~there, :-1] = True
        return tokens, hidden
