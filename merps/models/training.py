"""A plain training loop that can be killed at any batch and resumed exactly."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import nn

from merps.errors import InputError
from merps.models.checkpoints import Checkpoints
from merps.models.feeding import Batch, Feed
from merps.models.losses import LOSSES, Loss

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What decides how a net is trained.

    Parameters
    ----------
    loss : str
        A name in `merps.models.losses.LOSSES`.
    batch_size : int
        Seconds in a batch.
    epochs, patience : int
        Most epochs, and how many without a new best one end training.
    learning_rate, weight_decay : float
        Of AdamW.
    clip_norm : float
        Largest norm of all gradients together.
    amp : bool
        Compute in half precision where torch holds that to be safe.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    seed : int
        Decides the order of batches and dropout.
    """

    loss: Loss
    batch_size: int
    epochs: int
    patience: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    amp: bool
    device: str
    seed: int


def train(
    net: nn.Module,
    feed: Feed,
    targets: Float[torch.Tensor, "sample output"],
    *,
    learn: Int[np.ndarray, "sequence second"],
    watch: Sequence[Int[np.ndarray, " _"]],
    options: TrainingOptions,
    checkpoints: Checkpoints | None,
    checkpoint_s: float,
) -> Float64[np.ndarray, "epoch 2"]:
    """Train a net, and leave it in its best state.

    Every batch has a seed of its own, made from seed, epoch and batch, so nothing of a
    random generator has to be kept: on the CPU, a training that was killed and resumed
    ends in the same bytes as one that was not.

    Parameters
    ----------
    net : Module
        On the device of the options; changed in place. Has ``embed`` and ``decode``,
        as `merps.models.regressor.Regressor`.
    feed : Feed
        Where windows come from.
    targets : Tensor of float32, shape (sample, output)
        Of the rows of the feed, on the device; what the loss takes, such as scaled
        valence and arousal.
    learn : ndarray of int64, shape (sequence, second)
        Row numbers to learn from; -1 for none.
    watch : sequence of ndarray of int64, shape (second,)
        Row numbers of the trials whose loss decides which epoch was best; where there
        are none, the last one is.
    options : TrainingOptions
        How.
    checkpoints : Checkpoints, optional
        Where the state is kept, and taken up from if it is there.
    checkpoint_s : float
        Seconds between two checkpoints inside an epoch.

    Returns
    -------
    ndarray of float64, shape (epoch, 2)
        Loss of each epoch while learning, and of the trials that were watched; NaN
        where there are none.

    Raises
    ------
    InputError
        If a loss is no longer finite.
    SpaceError
        If a checkpoint cannot be written.
    """
    state = _Training(net, options)
    found = checkpoints.newest() if checkpoints else None
    if found:
        state.restore(*found)
        logger.info("resumed at epoch %d, batch %d", state.epoch + 1, state.batch + 1)
    while not state.is_done:
        pace = _learn_epoch(state, feed, targets, learn, checkpoints, checkpoint_s)
        loss = None
        if watch:
            outputs = infer(
                net,
                feed,
                watch,
                n_rows=len(targets),
                batch_size=options.batch_size,
                n_outputs=targets.shape[1],
            )
            there = np.flatnonzero(np.isfinite(outputs[:, 0]))
            predicted = torch.from_numpy(outputs[there]).to(targets)
            if len(there):
                loss = LOSSES[options.loss](predicted, targets[there]).item()
        state.end_epoch(loss)
        logger.info(
            "epoch %d of %d: loss %.4f, held out %s, best in epoch %d; %s",
            state.epoch,
            options.epochs,
            state.history[-1][0],
            "nobody" if loss is None else f"{loss:.4f}",
            state.best_epoch,
            pace,
        )
        if checkpoints:
            checkpoints.write(state.tensors(), state.facts())
    net.load_state_dict(state.best)
    return np.array(state.history, dtype=np.float64).reshape(-1, 2)


@torch.inference_mode()
def infer(
    net: nn.Module,
    feed: Feed,
    trials: Sequence[Int[np.ndarray, " _"]],
    *,
    n_rows: int,
    batch_size: int,
    n_outputs: int = 2,
) -> Float64[np.ndarray, "sample output"]:
    """Apply a net to whole trials.

    Parameters
    ----------
    net : Module
        On the device of the feed; put into evaluation mode. As for `train`.
    feed : Feed
        Where windows come from.
    trials : sequence of ndarray of int64, shape (second,)
        Row numbers of consecutive seconds; -1 for none.
    n_rows : int
        Number of rows of the feed.
    batch_size : int
        Seconds in a batch.
    n_outputs : int
        Numbers that the net gives for a row.

    Returns
    -------
    ndarray of float64, shape (sample, output)
        What the net says, such as scaled valence and arousal; NaN where a row is in no
        trial or has no window.
    """
    net.eval()
    rows = np.concatenate(trials)
    rows = rows[rows >= 0][:, None]
    parts = [rows[k : k + batch_size] for k in range(0, len(rows), batch_size)]
    place = np.full(n_rows, -1)
    embedded, n_found = [], 0
    for batch, _ in feed.batches(parts):
        if len(batch.rows):
            embedded.append(net.embed(batch.windows, batch.present))
            place[batch.rows] = n_found + np.arange(len(batch.rows))
            n_found += len(batch.rows)
    outputs = np.full((n_rows, n_outputs), np.nan)
    if not embedded:
        return outputs
    joined = torch.cat(embedded)
    for trial in trials:
        there = np.flatnonzero((trial >= 0) & (place[trial] >= 0))
        own, places = (
            torch.from_numpy(numbers).to(joined.device)
            for numbers in (place[trial[there]], there)
        )
        decoded = net.decode(joined[own], places, (1, len(trial)))
        outputs[trial[there]] = decoded.double().cpu().numpy()
    return outputs


class _Training:
    """What a training has come to."""

    def __init__(self, net: nn.Module, options: TrainingOptions):
        self.net, self.options = net, options
        self.optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        half = options.amp and options.device == "cuda"
        self.scaler = torch.amp.GradScaler(options.device, enabled=half)
        self.best: dict[str, torch.Tensor] = {}
        self.epoch = self.batch = self.n_rows = 0
        self.loss_sum = 0.0
        self.best_epoch, self.best_loss = 0, math.inf
        self.history: list[list[float | None]] = []

    @property
    def is_done(self) -> bool:
        """Whether all epochs are over or none was better for too long."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.options.epochs or waited >= self.options.patience

    def step(self, batch: Batch, targets: Float[torch.Tensor, "sample output"]) -> None:
        """Learn from one batch."""
        device = self.options.device
        key = (self.options.seed, self.epoch, self.batch)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        self.batch += 1
        if not len(batch.rows):
            return
        self.optimizer.zero_grad()
        half = torch.float16 if device == "cuda" else torch.bfloat16
        with torch.autocast(device, dtype=half, enabled=self.options.amp):
            embedded = self.net.embed(batch.windows, batch.present)
            predicted = self.net.decode(embedded, batch.places, batch.shape)
        loss = LOSSES[self.options.loss](predicted, targets[batch.rows])
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.loss_sum += _finite(loss.item(), self.epoch) * len(batch.rows)
        self.n_rows += len(batch.rows)

    def end_epoch(self, loss: float | None) -> None:
        """Note the losses, and the state if it is the best so far."""
        mean = self.loss_sum / max(self.n_rows, 1)
        self.history.append([mean, loss])
        is_best = loss is None or _finite(loss, self.epoch) < self.best_loss
        self.epoch += 1
        self.batch = self.n_rows = 0
        self.loss_sum = 0.0
        if is_best:
            self.best_epoch = self.epoch
            self.best_loss = self.best_loss if loss is None else loss
            self.best = {k: v.clone() for k, v in self.net.state_dict().items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all that is not a plain number."""
        found = {f"net.{k}": v.clone() for k, v in self.net.state_dict().items()}
        found |= {f"best.{k}": v for k, v in self.best.items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{k}": v for k, v in moments.items()}
        return found

    def facts(self) -> dict[str, Any]:
        """Return the plain numbers."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "n_rows": self.n_rows,
            "loss_sum": self.loss_sum,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "history": self.history,
            "scaler": self.scaler.state_dict(),
        }

    def restore(
        self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Go on from what `tensors` and `facts` have returned."""
        parts: dict[str, dict[str, torch.Tensor]] = {"net": {}, "best": {}}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "optimizer":
                number, _, key = rest.partition(".")
                moments.setdefault(int(number), {})[key] = tensor
            else:
                parts[part][rest] = tensor
        self.net.load_state_dict(parts["net"])
        self.best = parts["best"]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(facts["scaler"])
        for name in ("epoch", "batch", "n_rows", "loss_sum", "best_epoch", "history"):
            setattr(self, name, facts[name])
        best = facts["best_loss"]
        self.best_loss = math.inf if best is None else best


def _learn_epoch(
    state: _Training,
    feed: Feed,
    targets: Float[torch.Tensor, "sample output"],
    learn: Int[np.ndarray, "sequence second"],
    checkpoints: Checkpoints | None,
    checkpoint_s: float,
) -> str:
    """Learn from what is left of an epoch; return how fast that went."""
    options = state.options
    rng = np.random.default_rng([options.seed, state.epoch])
    order = rng.permutation(len(learn))
    n_batches = math.ceil(learn.size / max(options.batch_size, learn.shape[1]))
    parts = np.array_split(order, n_batches)[state.batch :]
    state.net.train()
    start_s = written_s = time.perf_counter()
    total_waited_s, n_before = 0.0, state.n_rows
    for batch, waited_s in feed.batches([learn[part] for part in parts]):
        total_waited_s += waited_s
        state.step(batch, targets)
        if checkpoints and time.perf_counter() - written_s >= checkpoint_s:
            checkpoints.write(state.tensors(), state.facts())
            written_s = time.perf_counter()
    seconds = max(time.perf_counter() - start_s, 1e-9)
    return (
        f"{(state.n_rows - n_before) / seconds:.0f} windows/s, "
        f"{100 * total_waited_s / seconds:.1f} % of the time waiting for them"
    )


def _finite(loss: float, epoch: int) -> float:
    """Refuse to go on when training has diverged."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss is {loss} in epoch {epoch + 1}: training has diverged; take a "
            "lower learning_rate or a smaller clip_norm"
        )
    return loss
