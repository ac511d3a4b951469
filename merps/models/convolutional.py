"""Predictions from the windows of the signals by nets; torch is loaded when used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.models.alignment import Scaling, pack_scalings, unpack_scalings
from merps.models.inputs import (
    BLOCK_OF_MODALITY,
    FACTS,
    JOINT,
    WindowFacts,
    check_parameters,
    choose_held_out,
    digest_training,
    measure_scalings,
    require_same_windows,
    scale_targets,
    unscale_targets,
    window_facts,
)
from merps.models.rows import in_order, labeled, order_of
from merps.samples import Samples
from merps.shapes import SampleTargets


class ConvolutionalRegressor(BaseEstimator):
    """Regress valence and arousal on windows of EEG, of fNIRS or of both.

    Samples bring windows as blocks: ``eeg_windows`` (channel, time) and
    ``fnirs_windows`` (kind, channel, time), whose kinds are folded into the channels.
    Each modality has a net of its own. A single one gives both numbers; otherwise each
    net gives an embedding, and a head decodes the joined embeddings of one second, or,
    with `sequence_s` above 1, those of consecutive seconds of a trial by a temporal
    convolution that looks both ways; it learns from those and predicts whole trials.

    Where one modality is missing in a second, a learned vector stands for its embedding
    (zero if that never happened in training). A second without any window is not
    learned from, and is predicted as the training median; so is one whose window lacks
    more than half of its samples. Fewer missing ones are set to their channel's mean.

    Training stops when people held out of the training rows (stimuli where there are
    fewer than three people) are no longer predicted better; the best state is kept.
    Those people watch stimuli that are also learned from, which favors nets that
    recognize stimuli: it is no measure of how new stimuli are predicted.

    Parameters
    ----------
    net : str or None
        Net for EEG: a class of ``braindecode.models``, ``GraphCrossAttention`` (which
        also takes fNIRS where samples have it), or None for fNIRS alone.
    net_options : mapping, optional
        Keywords of its constructor.
    fnirs_net : str, optional
        Net for fNIRS: a class of ``braindecode.models``; EEG alone if absent.
    fnirs_options : mapping, optional
        Keywords of its constructor.
    embedding : int
        Numbers that each of two nets gives for a window.
    sequence_s : int
        Seconds of a trial that are decoded together; 1 decodes each by itself.
    alignment : str
        ``none`` scales channels by the training rows; ``person`` by the rows of the
        same person, also when predicting; ``whiten`` makes the mean covariance of each
        person's EEG the identity (fNIRS as ``person``). The last two are transductive:
        they use all unlabeled windows among the rows of the predicted person.
    loss : str
        ``l1``, ``huber`` (quadratic up to 12.7 points) or ``ccc`` (1 less the
        concordance correlation of a batch).
    batch_size : int
        Seconds in a batch.
    epochs, patience : int
        Most epochs, and how many without a better one end training.
    held_out : float
        Share of people (or stimuli) that decide about that; 0 trains all epochs.
    learning_rate, weight_decay : float
        Of AdamW.
    clip_norm : float
        Largest norm of all gradients together.
    amp : bool
        Train in half precision where torch holds that to be safe.
    device : str
        ``cpu``, ``cuda`` or ``mps``; not kept in files.
    threads : int
        CPU threads; results depend on it to rounding.
    seed : int
        Decides initial weights, batches, dropout and who is held out.
    pretrained : Path or str, optional
        A .safetensors file with weights to start from: those whose name and shape
        match the net for EEG. Not kept in files.

    Attributes
    ----------
    weights_ : dict of ndarray
        All tensors of the net.
    scalings_ : dict of ndarray of float32
        Means and gains of channels for the alignment ``none``; else empty.
    eeg_channels_, eeg_kinds_, fnirs_channels_, fnirs_kinds_ : tuple of str
        What windows hold; empty for a modality that is not used.
    eeg_n_times_, fnirs_n_times_ : int
        Samples in a window.
    eeg_rate_hz_, fnirs_rate_hz_ : float
        Sampling rates in hertz.
    median_ : ndarray of float64, shape (2,)
        Training median.
    history_ : ndarray of float64, shape (epoch, 2)
        Loss of each epoch while learning and of what was held out; NaN for none.
    """

    contains: ClassVar[str] = "weights of a net trained on windows of the signals"
    #: Parameters that belong to one machine; a file holds their defaults.
    local: ClassVar[tuple[str, ...]] = ("device", "pretrained")

    weights_: dict[str, np.ndarray]
    scalings_: dict[str, np.ndarray]
    eeg_channels_: tuple[str, ...]
    eeg_kinds_: tuple[str, ...]
    eeg_n_times_: int
    eeg_rate_hz_: float
    fnirs_channels_: tuple[str, ...]
    fnirs_kinds_: tuple[str, ...]
    fnirs_n_times_: int
    fnirs_rate_hz_: float
    median_: Float64[np.ndarray, "2"]
    history_: Float64[np.ndarray, "epoch 2"]

    def __init__(
        self,
        net="ShallowFBCSPNet",
        net_options=None,
        fnirs_net=None,
        fnirs_options=None,
        embedding=16,
        sequence_s=1,
        alignment="person",
        loss="l1",
        batch_size=64,
        epochs=30,
        patience=5,
        held_out=0.2,
        learning_rate=1e-3,
        weight_decay=1e-2,
        clip_norm=1.0,
        amp=False,
        device="cpu",
        threads=2,
        seed=0,
        pretrained=None,
    ):
        self.net = net
        self.net_options = net_options
        self.fnirs_net = fnirs_net
        self.fnirs_options = fnirs_options
        self.embedding = embedding
        self.sequence_s = sequence_s
        self.alignment = alignment
        self.loss = loss
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.held_out = held_out
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.amp = amp
        self.device = device
        self.threads = threads
        self.seed = seed
        self.pretrained = pretrained

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the blocks that it asks of samples."""
        used = BLOCK_OF_MODALITY if self.net == JOINT else self._nets()
        return tuple(BLOCK_OF_MODALITY[modality] for modality in used)

    def fit(
        self,
        samples: Samples,
        *,
        checkpoints: Path | None = None,
        checkpoint_s: float = 60.0,
    ) -> "ConvolutionalRegressor":
        """Train on windows and labels.

        Parameters
        ----------
        samples : Samples
            Training rows with targets and blocks of windows; those with a missing
            label only tell about the scale of the channels.
        checkpoints : Path, optional
            Folder for the state of training. If it holds that of the same training,
            killed at any time, it is taken up; on the CPU the result is the same to
            the last bit.
        checkpoint_s : float
            Seconds between two checkpoints; there is one at the end of each epoch too.

        Returns
        -------
        ConvolutionalRegressor
            This estimator.

        Raises
        ------
        InputError
            If an option is wrong, a block is missing, there are no labels or no
            windows, the net does not fit the windows, or training diverges.
        DataError
            If the file of pretrained weights is damaged.
        SpaceError
            If a checkpoint cannot be written.
        """
        from merps.models.checkpoints import Checkpoints
        from merps.models.determinism import torch_settings
        from merps.models.feeding import sequences_of
        from merps.models.regressor import load_pretrained
        from merps.models.training import TrainingOptions, train

        parameters = self.get_params(deep=False)
        check_parameters(parameters)
        samples = in_order(samples)
        self.median_ = np.median(labeled(samples).require_targets(), axis=0)
        self._take_facts(samples)
        rows = np.flatnonzero(np.isfinite(samples.targets).all(axis=1))
        blocks = [samples.blocks[BLOCK_OF_MODALITY[m]] for m in self._facts]
        if all((block.rows[rows] < 0).all() for block in blocks):
            raise InputError("no labeled row has a window to learn from")
        apart = choose_held_out(samples.take(rows), share=self.held_out, seed=self.seed)
        scalings = measure_scalings(samples, self._facts, self.alignment)
        options = TrainingOptions(
            **{k: parameters[k] for k in TrainingOptions.__dataclass_fields__}
        )
        with torch_settings(device=self.device, threads=self.threads, seed=self.seed):
            import torch

            net = self._build()
            if self.pretrained:
                load_pretrained(net, Path(self.pretrained))
            with torch.no_grad():
                net.offset.copy_(torch.from_numpy(scale_targets(self.median_)))
            store = None
            if checkpoints is not None:
                digest = digest_training(
                    samples, parameters, net.state_dict(), scalings
                )
                store = Checkpoints(Path(checkpoints), digest)
            net, feed = self._placed(net, samples, scalings)
            targets = torch.from_numpy(scale_targets(samples.require_targets()))
            learn = sequences_of(samples, rows[~apart], length=self.sequence_s)
            self.history_ = train(
                net,
                feed,
                targets.float().to(self.device),
                learn=np.stack(learn),
                watch=sequences_of(samples, rows[apart], length=None),
                options=options,
                checkpoints=store,
                checkpoint_s=checkpoint_s,
            )
            self.weights_ = {
                key: tensor.cpu().numpy().copy()
                for key, tensor in net.state_dict().items()
            }
        self.scalings_ = pack_scalings(scalings if self.alignment == "none" else {})
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its windows, and those of the seconds around it.

        Parameters
        ----------
        samples : Samples
            Rows with blocks of windows as those that were fitted on; a modality whose
            block is absent is missing in every row.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.

        Raises
        ------
        InputError
            If windows have other channels, lengths or rates than those fitted on.
        """
        from merps.models.determinism import torch_settings
        from merps.models.feeding import sequences_of
        from merps.models.training import infer

        check_is_fitted(self)
        predicted = np.tile(self.median_, (len(samples), 1))
        if not len(samples):
            return predicted
        order = order_of(samples)
        samples = samples.take(order)
        require_same_windows(samples, self._facts)
        scalings = self._shared()
        if self.alignment != "none":
            scalings = measure_scalings(samples, self._facts, self.alignment)
        with torch_settings(device=self.device, threads=self.threads, seed=self.seed):
            net, feed = self._placed(self._restored(), samples, scalings)
            outputs = infer(
                net,
                feed,
                sequences_of(samples, np.arange(len(samples)), length=None),
                n_rows=len(samples),
                batch_size=self.batch_size,
            )
        there = np.isfinite(outputs[:, 0])
        predicted[order[there]] = unscale_targets(outputs[there])
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If the weights are not those of the net, in name, shape and precision.
        """
        from merps.models.determinism import torch_settings

        check_parameters(self.get_params(deep=False))
        self._shared()
        with torch_settings(device="cpu", threads=self.threads, seed=self.seed):
            self._restored()

    def _nets(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Return name and options of the net of each modality that has one."""
        nets = {
            "eeg": (self.net, self.net_options),
            "fnirs": (self.fnirs_net, self.fnirs_options),
        }
        return {m: (name, options or {}) for m, (name, options) in nets.items() if name}

    def _take_facts(self, samples: Samples) -> None:
        """Note what windows hold."""
        used = set(self._nets())
        if self.net == JOINT and BLOCK_OF_MODALITY["fnirs"] in samples.blocks:
            used.add("fnirs")
        for modality, block in BLOCK_OF_MODALITY.items():
            facts: tuple = ((), (), 0, 0.0)
            if modality in used:
                facts = window_facts(samples.require_block(block))
            for part, value in zip(FACTS, facts, strict=True):
                setattr(self, f"{modality}_{part}_", value)

    @property
    def _facts(self) -> dict[str, WindowFacts]:
        """What the windows of each modality that is used hold."""
        return {
            m: WindowFacts(*(getattr(self, f"{m}_{part}_") for part in FACTS))
            for m in BLOCK_OF_MODALITY
            if getattr(self, f"{m}_channels_")
        }

    def _build(self) -> Any:
        """Build the net with random weights."""
        from merps.models.regressor import build_regressor

        facts = self._facts
        return build_regressor(
            {m: one.shape for m, one in facts.items()},
            {m: one.rate_hz for m, one in facts.items()},
            self._nets(),
            embedding=self.embedding,
            sequence_s=self.sequence_s,
        )

    def _restored(self) -> Any:
        """Build the net with the fitted weights."""
        from merps.models.regressor import load_weights

        return load_weights(self._build(), self.weights_)

    def _placed(
        self, net: Any, samples: Samples, scalings: Mapping[str, Scaling]
    ) -> tuple[Any, Any]:
        """Return the net on its device and what feeds it."""
        from merps.models.feeding import Feed
        from merps.models.regressor import merge_branches

        net = net.to(self.device)
        if self.device == "cpu":
            net = merge_branches(net)
        shapes = {m: one.shape for m, one in self._facts.items()}
        return net, Feed(samples, scalings, shapes, device=self.device)

    def _shared(self) -> dict[str, Scaling]:
        """Return the scalings of the training rows, if all people share them."""
        if self.alignment != "none":
            return unpack_scalings(self.scalings_, {})
        sizes = {m: one.n_folded for m, one in self._facts.items()}
        return unpack_scalings(self.scalings_, sizes)
