"""Nets over features of clips: attention over streams, and texts compared."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from merps.models.feeding import Feed, Loaded
from merps.samples import Block
from merps.tracks.clips import Clips
from merps.tracks.sources import PAIR

_SMALLEST_SD = 1e-6


class ClipFeed(Feed):
    """Features of clips in batches; the scale of features belongs to the net.

    Parameters
    ----------
    clips : Clips
        Rows and their blocks.
    device : str
        Where batches go.
    """

    def __init__(self, clips: Clips, *, device: str):
        self._blocks, self._device = dict(clips.blocks), device
        self._scalings = {}

    def _load(self, sequences: Int[np.ndarray, "sequence second"]) -> Loaded:
        """Gather the features of all streams; drop rows that cannot be answered."""
        rows = sequences.ravel()
        usable = can_be_answered(self._blocks, rows)
        places = np.flatnonzero(usable)
        rows = rows[usable]
        present = {name: block.rows[rows] >= 0 for name, block in self._blocks.items()}
        return Loaded(
            rows=rows,
            places=places,
            shape=sequences.shape,
            windows={
                name: block.source.gather(block.rows[rows[present[name]]])
                for name, block in self._blocks.items()
            },
            present=present,
            groups={},
        )


def can_be_answered(
    blocks: Mapping[str, Block], rows: Int[np.ndarray, " row"]
) -> Bool[np.ndarray, " row"]:
    """Tell which rows have what a net needs.

    Parameters
    ----------
    blocks : mapping of str to Block
        Features by stream.
    rows : ndarray of int64, shape (row,)
        Row numbers.

    Returns
    -------
    ndarray of bool, shape (row,)
        True where there is a stream at least, and both texts if they are compared.
    """
    there = {name: block.rows[rows] >= 0 for name, block in blocks.items()}
    if all(part in there for part in PAIR):
        return there[PAIR[0]] & there[PAIR[1]]
    return np.logical_or.reduce(list(there.values()))


class Branch(nn.Module):
    """Features of one stream to an embedding, pooled over time by learned weights.

    Parameters
    ----------
    width : int
        Number of features.
    hidden : int
        Size of the embedding.
    dropout : float
        Of the features.
    """

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("gain", torch.ones(width))
        self.attention = nn.Linear(width, 1)
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )

    def scale_by(self, features: Float[np.ndarray, "row feature step"]) -> None:
        """Take the scale of the features from training rows.

        Parameters
        ----------
        features : ndarray of float, shape (row, feature, step)
            NaN where a row has no such step.
        """
        steps = np.moveaxis(features, 1, 2).reshape(-1, features.shape[1])
        steps = steps[np.isfinite(steps[:, 0])].astype(np.float64)
        if len(steps):
            sd = np.maximum(steps.std(axis=0), _SMALLEST_SD)
            self.mean.copy_(torch.from_numpy(steps.mean(axis=0)))
            self.gain.copy_(torch.from_numpy(1 / sd))

    def forward(
        self, features: Float[torch.Tensor, "row feature step"]
    ) -> Float[torch.Tensor, "row hidden"]:
        """Embed rows.

        Parameters
        ----------
        features : Tensor of float, shape (row, feature, step)
            NaN where a row has no such step.

        Returns
        -------
        Tensor of float, shape (row, hidden)
            One embedding a row.
        """
        absent = features[:, 0].isnan()
        steps = (features.mT.nan_to_num(nan=0.0) - self.mean) * self.gain
        scores = self.attention(steps)[..., 0].masked_fill(absent, -torch.inf)
        return self.layers((scores.softmax(1)[..., None] * steps).sum(1))


class AttentionFusion(nn.Module):
    """Streams weighted by attention and summed, as the baseline of MER-Cross does.

    The embeddings of all streams, zero where one is missing, give a weight for each
    stream, without softmax; the weighted sum goes to a linear head.

    Parameters
    ----------
    widths : mapping of str to int
        Number of features by stream.
    hidden : int
        Size of embeddings.
    dropout : float
        Of features.
    n_outputs : int
        Numbers for each row.
    """

    def __init__(
        self, widths: Mapping[str, int], *, hidden: int, dropout: float, n_outputs: int
    ):
        super().__init__()
        self.branches = nn.ModuleDict(
            {name: Branch(width, hidden, dropout) for name, width in widths.items()}
        )
        self.hidden = hidden
        if widths:
            self.attention = nn.Sequential(
                nn.Linear(hidden * len(widths), hidden),
                nn.ReLU(),
                nn.Linear(hidden, len(widths)),
            )
        self.head = nn.Linear(hidden, n_outputs)

    @property
    def branch_of_block(self) -> dict[str, Branch]:
        """The branch that takes the features of each block first."""
        return dict(self.branches)

    def embed(
        self,
        windows: Mapping[str, Float[torch.Tensor, "_ _ _"]],
        present: Mapping[str, Bool[torch.Tensor, " row"]],
    ) -> Float[torch.Tensor, "row hidden"]:
        """Join the streams of each row.

        Parameters
        ----------
        windows : mapping of str to Tensor of float, shape (present, feature, step)
            By stream, those that are there.
        present : mapping of str to Tensor of bool, shape (row,)
            Which rows have the stream.

        Returns
        -------
        Tensor of float, shape (row, hidden)
            One embedding a row.
        """
        parts = []
        for name, branch in self.branches.items():
            there = present[name]
            part = there.new_zeros((len(there), self.hidden), dtype=torch.float)
            if len(windows[name]):
                found = branch(windows[name])
                part = part.to(found.dtype).index_put((there,), found)
            parts.append(part)
        stacked = torch.stack(parts, dim=1)
        weights = self.attention(stacked.flatten(1))
        return (weights[..., None] * stacked).sum(1)

    def decode(
        self,
        embedded: Float[torch.Tensor, "row hidden"],
        places: Int[torch.Tensor, " row"],
        shape: tuple[int, int],
    ) -> Float[torch.Tensor, "row output"]:
        """Turn embeddings into outputs, each row by itself.

        Parameters
        ----------
        embedded : Tensor of float, shape (row, hidden)
            What `embed` gives.
        places : Tensor of int64, shape (row,)
            Not used; clips have no neighbors in time.
        shape : tuple of int
            Not used.

        Returns
        -------
        Tensor of float, shape (row, output)
            Logits or vectors.
        """
        return self.head(embedded).float()


class PreferenceNet(AttentionFusion):
    """How much better the first of two texts fits a clip: Bradley-Terry by build.

    Both texts go through one branch t, and s(c, t) = MLP([c, t, c t]) is the worth of a
    text for a clip c. The output s(c, t1) - s(c, t2) is the logit of preferring the
    first; exchanging the texts changes its sign and nothing else.

    Parameters
    ----------
    widths : mapping of str to int
        Number of features by stream, and of both texts by their names.
    hidden : int
        Size of embeddings.
    dropout : float
        Of features.
    """

    def __init__(self, widths: Mapping[str, int], *, hidden: int, dropout: float):
        own = {name: width for name, width in widths.items() if name not in PAIR}
        super().__init__(own, hidden=hidden, dropout=dropout, n_outputs=1)
        self.text = Branch(widths[PAIR[0]], hidden, dropout)
        self.head = nn.Sequential(
            nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    @property
    def branch_of_block(self) -> dict[str, Branch]:
        """The branch that takes the features of each block first."""
        return {**self.branches, PAIR[0]: self.text}

    def embed(
        self,
        windows: Mapping[str, Float[torch.Tensor, "_ _ _"]],
        present: Mapping[str, Bool[torch.Tensor, " row"]],
    ) -> Float[torch.Tensor, "row worths"]:
        """Return the worth of both texts of each row.

        Parameters
        ----------
        windows, present : mapping
            As for `AttentionFusion.embed`, with the texts.

        Returns
        -------
        Tensor of float, shape (row, 2)
            Of the first and the second text.
        """
        if self.branches:
            clip = super().embed(windows, present)
        else:
            clip = windows[PAIR[0]].new_zeros(len(windows[PAIR[0]]), self.hidden)
        worths = []
        for part in PAIR:
            text = self.text(windows[part])
            worths.append(self.head(torch.cat([clip, text, clip * text], dim=1)))
        return torch.cat(worths, dim=1)

    def decode(
        self,
        embedded: Float[torch.Tensor, "row worths"],
        places: Int[torch.Tensor, " row"],
        shape: tuple[int, int],
    ) -> Float[torch.Tensor, "row output"]:
        """Return the difference of the worths.

        Parameters
        ----------
        embedded : Tensor of float, shape (row, 2)
            What `embed` gives.
        places : Tensor of int64, shape (row,)
            Not used.
        shape : tuple of int
            Not used.

        Returns
        -------
        Tensor of float, shape (row, 1)
            Positive where the first text is better.
        """
        return (embedded[:, :1] - embedded[:, 1:]).float()


def build_clip_net(
    widths: Mapping[str, int], *, hidden: int, dropout: float, n_outputs: int
) -> AttentionFusion:
    """Build the net of a track with random weights.

    Parameters
    ----------
    widths : mapping of str to int
        Number of features by stream; where both texts of `PAIR` are among them they
        are compared.
    hidden : int
        Size of embeddings.
    dropout : float
        Of features.
    n_outputs : int
        Numbers for each row.

    Returns
    -------
    AttentionFusion
        In training mode.
    """
    if PAIR[0] in widths:
        return PreferenceNet(widths, hidden=hidden, dropout=dropout)
    return AttentionFusion(widths, hidden=hidden, dropout=dropout, n_outputs=n_outputs)
