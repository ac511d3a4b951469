"""The model of the tracks: a net for each fold, whose answers are averaged."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from merps.engine import Progress, Silence
from merps.errors import InputError
from merps.splits import folds
from merps.tracks.clips import Clips
from merps.tracks.codes import (
    Code,
    OutOfFold,
    encode_classes,
    encode_opensets,
    encode_preferences,
)
from merps.tracks.fitting import train_net
from merps.tracks.wheels import Wheels


class ClipModel(BaseEstimator):
    """Answer MER-Cross, MER-FG or MER-Prefer from the features of clips.

    Rows are divided into folds by groups of clips; each fold has a net that was trained
    on the others, stopped early on groups held out of those, and the averaged outputs
    of all nets are the answer. Rows are put into the order of their content first:
    neither names nor order of the rows have an influence.

    Parameters
    ----------
    task : str
        ``cross``, ``fg`` or ``prefer``.
    kind : str
        For MER-FG: ``labels`` predicts each frequent label by itself, ``embedding`` the
        mean vector of a clip's labels, near which labels are looked up.
    class_weights : bool
        For MER-Cross: every class counts alike in training.
    min_count, most_labels : int
        For MER-FG: how often a label must occur, and how many labels there are at most.
        They are counted over all training rows.
    most_answers : int
        For MER-FG: labels in an answer at most; there is always one.
    ties : str
        For MER-Prefer: ``drop`` leaves ties out of training, ``half`` takes them as
        0.5.
    hidden : int
        Size of embeddings.
    dropout : float
        Of features.
    batch_size, epochs, patience : int
        As for `merps.ConvolutionalRegressor`.
    held_out : float
        Share of the groups that decide when training ends; 0 trains all epochs.
    learning_rate, weight_decay, clip_norm : float
        As for `merps.ConvolutionalRegressor`.
    device : str
        ``cpu``, ``cuda`` or ``mps``; not kept in files.
    threads : int
        CPU threads; results depend on it to rounding.
    seed : int
        Decides folds, initial weights, batches and dropout.

    Attributes
    ----------
    weights_ : dict of ndarray
        All tensors, by number of the net and name.
    n_nets_ : int
        Number of nets, one a fold.
    streams_ : tuple of str
        Names of the blocks of features.
    widths_ : ndarray of int64, shape (stream,)
        Number of features of each.
    labels_ : tuple of str
        Labels that can be answered.
    vectors_ : ndarray of float32, shape (label, axis)
        Vectors of labels for ``embedding``; no axis otherwise.
    prior_ : ndarray of float64, shape (output,)
        What is said of a row without features.
    threshold_ : float
        For MER-FG: which labels are near or likely enough, chosen by the EW score of
        out-of-fold answers.
    """

    contains: ClassVar[str] = "weights of nets trained on features of clips"
    local: ClassVar[tuple[str, ...]] = ("device",)

    weights_: dict[str, np.ndarray]
    n_nets_: int
    streams_: tuple[str, ...]
    widths_: Int[np.ndarray, " stream"]
    labels_: tuple[str, ...]
    vectors_: Float32[np.ndarray, "label axis"]
    prior_: Float64[np.ndarray, " output"]
    threshold_: float

    def __init__(
        self,
        task="cross",
        kind="labels",
        class_weights=False,
        min_count=3,
        most_labels=200,
        most_answers=6,
        ties="drop",
        hidden=128,
        dropout=0.3,
        batch_size=32,
        epochs=100,
        patience=10,
        held_out=0.2,
        learning_rate=1e-3,
        weight_decay=1e-5,
        clip_norm=1.0,
        device="cpu",
        threads=1,
        seed=0,
    ):
        self.task = task
        self.kind = kind
        self.class_weights = class_weights
        self.min_count = min_count
        self.most_labels = most_labels
        self.most_answers = most_answers
        self.ties = ties
        self.hidden = hidden
        self.dropout = dropout
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.held_out = held_out
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.device = device
        self.threads = threads
        self.seed = seed

    def fit(
        self,
        clips: Clips,
        *,
        wheels: Wheels | None = None,
        vectors: Mapping[str, Float32[np.ndarray, " axis"]] | None = None,
        progress: Progress | None = None,
    ) -> OutOfFold:
        """Train a net for each fold.

        Parameters
        ----------
        clips : Clips
            Rows with labels.
        wheels : Wheels, optional
            Needed for MER-FG.
        vectors : mapping of str to ndarray of float32, shape (axis,), optional
            Of each label; needed for the kind ``embedding``.
        progress : Progress, optional
            Told of each net.

        Returns
        -------
        OutOfFold
            Answers for the rows, in their order, by nets not trained on them.

        Raises
        ------
        InputError
            If labels or features are missing, there are too few groups, or training
            diverges.
        """
        from merps.models.determinism import torch_settings

        if clips.labels is None or not len(clips):
            raise InputError("there are no labeled rows to learn from")
        if self.task == "fg" and wheels is None:
            raise InputError(
                "MER-FG tunes its threshold on the EW score and needs the emotion "
                "wheels; name their folder as data.wheels"
            )
        order = clips.order()
        ordered = clips.take(order)
        self._take_streams(ordered)
        code, targets, prior = self._encode(ordered.labels, vectors)
        self.labels_, self.vectors_, self.prior_ = code.labels, code.vectors, prior
        learnable = np.flatnonzero(np.isfinite(targets[:, 0]))
        groups = np.array([ordered.groups[row] for row in learnable])
        parts = folds("people", groups, groups, seed=self.seed)
        self.n_nets_, self.weights_ = len(parts), {}
        outputs = np.tile(prior, (len(ordered), 1))
        number = np.full(len(ordered), -1)
        progress = progress or Silence()
        progress.expect(len(parts))
        for k, fold in enumerate(parts):
            seed = int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0])
            with torch_settings(device=self.device, threads=self.threads, seed=seed):
                weights, found = train_net(
                    self._build(),
                    ordered,
                    targets,
                    train=learnable[fold.train],
                    test=learnable[fold.test],
                    loss=code.loss,
                    weigh=self.task == "cross" and self.class_weights,
                    seed=seed,
                    options=self.get_params(deep=False),
                )
            self.weights_ |= {f"{k}.{name}": array for name, array in weights.items()}
            there = np.isfinite(found[:, 0])
            outputs[there], number[learnable[fold.test]] = found[there], k
            progress.done(f"net {k + 1}")
        self.threshold_ = 0.0
        if self.task == "fg":
            answers, self.threshold_ = code.decide_apart(
                outputs,
                number,
                ordered.labels,
                wheels=wheels,
                most_answers=self.most_answers,
            )
        else:
            answers = self._answers(outputs)
        back = np.argsort(order)
        return OutOfFold(
            outputs[back], number[back], [answers[row] for row in back.tolist()]
        )

    def predict(self, clips: Clips) -> list[Any]:
        """Answer rows.

        Parameters
        ----------
        clips : Clips
            Rows with the blocks that were fitted on.

        Returns
        -------
        list
            A class; a tuple of labels, best first; or ``a1``, ``a2`` or ``same``.

        Raises
        ------
        InputError
            If features are of another width.
        """
        return self._answers(self.decision_function(clips))

    def decision_function(self, clips: Clips) -> Float64[np.ndarray, "row output"]:
        """Return the outputs that answers are made of, averaged over nets.

        Parameters
        ----------
        clips : Clips
            Rows with the blocks that were fitted on.

        Returns
        -------
        ndarray of float64, shape (row, output)
            Logits or vectors.

        Raises
        ------
        InputError
            If a stream is absent or of another width.
        """
        from merps.models.determinism import torch_settings
        from merps.models.training import infer
        from merps.tracks.nets import ClipFeed

        check_is_fitted(self)
        outputs = np.tile(self.prior_, (len(clips), 1))
        if not len(clips):
            return outputs
        order = clips.order()
        ordered = clips.take(order)
        self._require_same_streams(ordered)
        rows = np.arange(len(ordered))
        total = np.zeros_like(outputs)
        with torch_settings(device=self.device, threads=self.threads, seed=self.seed):
            feed = ClipFeed(ordered, device=self.device)
            for k in range(self.n_nets_):
                total += infer(
                    self._restored(k).to(self.device),
                    feed,
                    [rows],
                    n_rows=len(rows),
                    batch_size=self.batch_size,
                    n_outputs=outputs.shape[1],
                )
        total /= self.n_nets_
        there = np.isfinite(total[:, 0])
        outputs[order[there]] = total[there]
        return outputs

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If weights, labels or vectors are not those of the nets.
        """
        from merps.models.determinism import torch_settings

        is_odd = len(self.streams_) != len(self.widths_)
        if is_odd or len(self.vectors_) != len(self.labels_):
            raise InputError("streams, widths, labels and vectors differ in number")
        if len(self.prior_) != self._code.n_outputs or self.n_nets_ < 1:
            raise InputError("the prior is of another size than the outputs")
        names = {name.partition(".")[0] for name in self.weights_}
        if names != {str(k) for k in range(self.n_nets_)}:
            raise InputError(f"weights_ are those of {len(names)} nets")
        with torch_settings(device="cpu", threads=self.threads, seed=self.seed):
            for k in range(self.n_nets_):
                self._restored(k)

    @property
    def _code(self) -> Code:
        """What the outputs stand for."""
        return Code(self.task, self.labels_, self.vectors_)

    def _answers(self, outputs: Float64[np.ndarray, "row output"]) -> list[Any]:
        """Turn outputs into answers."""
        return self._code.decide(
            outputs, threshold=self.threshold_, most_answers=self.most_answers
        )

    def _encode(
        self,
        labels: Sequence[Any],
        vectors: Mapping[str, Float32[np.ndarray, " axis"]] | None,
    ) -> tuple[Code, np.ndarray, np.ndarray]:
        """Turn labels into targets, and say what is answered without features."""
        if self.task == "cross":
            return encode_classes(labels)
        if self.task == "prefer":
            return encode_preferences(labels, ties=self.ties)
        if self.kind == "embedding" and vectors is None:
            raise InputError(
                "the kind embedding needs vectors of labels; name a text encoder as "
                "label_encoder"
            )
        return encode_opensets(
            labels,
            min_count=self.min_count,
            most_labels=self.most_labels,
            vectors=vectors if self.kind == "embedding" else None,
        )

    def _take_streams(self, clips: Clips) -> None:
        """Note which features there are."""
        self.streams_ = tuple(clips.blocks)
        widths = [block.source.width for block in clips.blocks.values()]
        self.widths_ = np.array(widths, dtype=np.int64)
        for name, width in zip(self.streams_, widths, strict=True):
            if not width:
                raise InputError(
                    f"no row has the stream {name}; check media and streams"
                )
        if not widths:
            raise InputError("there are no streams; name some in the configuration")

    def _build(self) -> Any:
        """Build a net with random weights."""
        from merps.tracks.nets import build_clip_net

        return build_clip_net(
            dict(zip(self.streams_, self.widths_.tolist(), strict=True)),
            hidden=self.hidden,
            dropout=self.dropout,
            n_outputs=self._code.n_outputs,
        )

    def _restored(self, number: int) -> Any:
        """Build one net with its fitted weights."""
        from merps.models.regressor import load_weights

        start = f"{number}."
        own = {
            name.removeprefix(start): array
            for name, array in self.weights_.items()
            if name.startswith(start)
        }
        return load_weights(self._build(), own)

    def _require_same_streams(self, clips: Clips) -> None:
        """Refuse features of another kind than those fitted on."""
        for name, width in zip(self.streams_, self.widths_.tolist(), strict=True):
            block = clips.blocks.get(name)
            if block is None or block.source.width not in (0, width):
                found = "none" if block is None else f"{block.source.width} features"
                raise InputError(
                    f"stream {name}: this model was fitted on {width} features, found "
                    f"{found}; use the same streams and encoders"
                )
