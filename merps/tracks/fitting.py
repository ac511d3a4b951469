"""The training of one net of a track, by the loop that trains all nets of merps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from merps.errors import InputError
from merps.tracks.clips import Clips


def train_net(
    net: Any,
    clips: Clips,
    targets: Float64[np.ndarray, "row output"],
    *,
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
    loss: str,
    weigh: bool,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], Float64[np.ndarray, "row output"]]:
    """Train one net on some rows and apply it to others.

    Parameters
    ----------
    net : Module
        With random weights, on the CPU; changed in place.
    clips : Clips
        All rows.
    targets : ndarray of float64, shape (row, output)
        Of all rows; finite where they are trained on.
    train, test : ndarray of int64
        Row numbers.
    loss : str
        Name of the loss.
    weigh : bool
        Whether each column of the targets is to weigh the same.
    seed : int
        Decides who is held out, batches and dropout.
    options : mapping
        Parameters of `merps.tracks.heads.ClipModel`.

    Returns
    -------
    dict of ndarray
        Weights of the net in its best state.
    ndarray of float64, shape (row, output)
        Outputs for the test rows; NaN for others and for those without features.

    Raises
    ------
    InputError
        If no row has features, or training diverges.
    """
    import torch

    from merps.models.training import TrainingOptions, infer
    from merps.models.training import train as run_training
    from merps.tracks.nets import ClipFeed, can_be_answered

    train = train[can_be_answered(clips.blocks, train)]
    apart = _held_out(clips, train, share=options["held_out"], seed=seed)
    learn = train[~apart]
    if not len(learn):
        raise InputError("no labeled row has features to learn from")
    if weigh:
        counts = np.maximum(targets[learn].sum(axis=0), 1)
        targets = targets * (len(learn) / (len(counts) * counts))
    for name, branch in net.branch_of_block.items():
        block = clips.blocks[name]
        rows = np.unique(block.rows[learn])
        branch.scale_by(block.source.gather(rows[rows >= 0]))
    device = options["device"]
    fields = TrainingOptions.__dataclass_fields__
    given = {name: value for name, value in options.items() if name in fields}
    feed = ClipFeed(clips, device=device)
    run_training(
        net.to(device),
        feed,
        torch.from_numpy(targets).float().to(device),
        learn=learn[:, None],
        watch=[train[apart]] if apart.any() else [],
        options=TrainingOptions(**(given | {"loss": loss, "amp": False, "seed": seed})),
        checkpoints=None,  # minutes at most: a killed fit starts again
        checkpoint_s=0.0,
    )
    outputs = infer(
        net,
        feed,
        [test],
        n_rows=len(clips),
        batch_size=options["batch_size"],
        n_outputs=targets.shape[1],
    )
    return {k: v.cpu().numpy().copy() for k, v in net.state_dict().items()}, outputs


def _held_out(
    clips: Clips, rows: Int[np.ndarray, " row"], *, share: float, seed: int
) -> Bool[np.ndarray, " row"]:
    """Mark the rows of the groups that decide when training ends."""
    groups = np.array([clips.groups[row] for row in rows])
    names = np.unique(groups)
    if not share or len(names) < 2:
        return np.zeros(len(rows), dtype=bool)
    n_apart = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:n_apart]
    return np.isin(groups, chosen)
