"""Predictions from how channels vary together: the model named riemannian."""

import logging
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float64
from sklearn.utils.validation import check_is_fitted

from merps.errors import InputError
from merps.features.directions import leading_of_bands, rank_tolerance
from merps.features.temporal import smooth_in_time, smooth_past
from merps.models.recentered import (
    Groups,
    TangentMap,
    as_one_group,
    complete_references,
    find_own_turns,
    find_turns,
    group_tangents,
    mean_matrices,
    rest_matrices,
)
from merps.models.regressed import RegressedModel
from merps.models.regression import fit_regressor
from merps.models.riemannian_inputs import (
    BLOCK_OF_INPUT,
    REST,
    channel_sets,
    check_options,
    layout_of,
    require_same_layout,
    require_shapes,
)
from merps.models.rows import (
    encode,
    in_order,
    labeled,
    order_of,
)
from merps.models.window_matrices import (
    mean_covariance,
    reduced_matrices,
    whitening_directions,
)
from merps.samples import Block, Samples
from merps.shapes import Rows, SampleTargets

logger = logging.getLogger(__name__)


class RiemannianRegressor(RegressedModel):
    """Regress valence and arousal on covariance matrices, seen from a reference.

    The covariance of channels in each second is reduced to the directions of most power
    of the training rows, recentered at a reference, shrunk a little towards it, mapped
    to the tangent space there, and averaged over neighboring seconds. Recentered at
    their own rest, people become comparable who mix the same sources differently.

    Inputs, of which several may be joined:

    - ``eeg``: `StoredMatrices` of a filter bank in the block ``eeg_covariances``, and
      one row for each person, measured at rest before the stimuli, in
      ``eeg_rest_covariances``.
    - ``eeg_delays``: ``eeg_windows`` (channel, time), joined with delayed copies.
    - ``fnirs``: ``fnirs_windows`` (kind, channel, time).
    - ``joint``: ``joint_windows``, as `JointWindows` serves them: power of the EEG and
      course of the fNIRS on one time axis, each reduced by itself.

    The last three are reduced to components of unit variance, whose covariance is
    shrunk by the oracle approximating rule. They have no rest: instead of it, they are
    recentered at the mean of the person's windows.

    A channel that is missing in windows is completed as the reference relates it to the
    others, and a reference as the training mean does; it adds nothing of its own. A
    second that lacks an input counts as the training mean of its columns; one that
    lacks all inputs is not learned from, and predicted as the training median.

    Parameters
    ----------
    inputs : tuple of str
        Some of ``eeg``, ``eeg_delays``, ``fnirs`` and ``joint``.
    n_components : int or None
        Directions for each band or modality, at most as many as there is rank; None
        takes all of those.
    reference : str
        ``person_rest``, which people without a rest replace by ``person``: the mean of
        the person's own unlabeled windows among the rows, which is transductive; or
        ``training``: the mean of the training rows.
    metric : str
        What kind of mean of windows: ``euclid``, ``riemann`` or ``logeuclid``.
    method : str
        ``exact`` logarithms in float64, or ``fast`` ones in float32.
    shrinkage : float
        s: a recentered matrix X becomes ``(1 - s) X + s tr(X) / n I``, so that windows
        with fewer samples than components have a logarithm.
    delays : tuple of int
        By how many samples the copies of ``eeg_delays`` are delayed.
    width_s : float
        Width of the average over neighboring seconds; 1 and less leave it out.
    phase : {"zero", "causal"}
        Whether that average looks both ways, or back alone.
    regressor : RidgeRegressor, optional
        What learns; None stands for ``RidgeRegressor()``.
    jobs : int
        Number of threads, which changes no result; not kept in files.

    Attributes
    ----------
    regressor_ : RidgeRegressor
        The fitted regressor.
    median_ : ndarray of float64, shape (2,)
        Training median.
    layout_ : tuple of str
        What the blocks held, such as ``eeg channel Fz``.
    means_ : dict of ndarray of float64, shape (1, channel, channel)
        Mean covariance of the training windows, by input that brings windows.
    directions_ : dict of ndarray of float64, shape (band, channel, component)
        What matrices or windows are reduced to, by input.
    centers_ : dict of ndarray of float64, shape (band, row, row)
        Mean of the training matrices, by input: of channels for ``eeg``, else of
        components and their copies.
    turns_ : dict of ndarray of float64, shape (band, component, component)
        What leads to another than the Euclidean mean of the training rows, if that is
        the reference; by input.
    """

    contains: ClassVar[str] = (
        "regression weights, mean covariances and moments of the training signals"
    )
    #: Parameters that belong to one machine; a file holds their defaults.
    local: ClassVar[tuple[str, ...]] = ("jobs",)

    median_: Float64[np.ndarray, "2"]
    layout_: tuple[str, ...]
    means_: dict[str, np.ndarray]
    directions_: dict[str, np.ndarray]
    centers_: dict[str, np.ndarray]
    turns_: dict[str, np.ndarray]

    def __init__(
        self,
        inputs=("eeg",),
        n_components=16,
        reference="person_rest",
        metric="euclid",
        method="fast",
        shrinkage=0.05,
        delays=(2, 4),
        width_s=15.0,
        phase="zero",
        regressor=None,
        jobs=1,
    ):
        self.inputs = inputs
        self.n_components = n_components
        self.reference = reference
        self.metric = metric
        self.method = method
        self.shrinkage = shrinkage
        self.delays = delays
        self.width_s = width_s
        self.phase = phase
        self.regressor = regressor
        self.jobs = jobs

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the blocks that it asks of samples."""
        names = [BLOCK_OF_INPUT[name] for name in self.inputs]
        return tuple([*names, REST] if "eeg" in self.inputs else names)

    def fit(self, samples: Samples) -> "RiemannianRegressor":
        """Learn from covariances and labels.

        Parameters
        ----------
        samples : Samples
            Training rows with targets and the blocks of all inputs; those with a
            missing label are passed over.

        Returns
        -------
        RiemannianRegressor
            This estimator.

        Raises
        ------
        InputError
            If an option is wrong, a block is missing, or rows are too few.
        """
        self._fit(in_order(labeled(samples)))
        return self

    def predict(self, samples: Samples) -> SampleTargets:
        """Predict each row from its covariances, and those of the seconds around it.

        Parameters
        ----------
        samples : Samples
            Rows with blocks as those that were fitted on; an input whose block is
            absent is missing in every row.

        Returns
        -------
        ndarray of float64, shape (sample, 2)
            Valence and arousal, not rounded.

        Raises
        ------
        InputError
            If a block holds other channels, bands or windows than that fitted on.
        """
        check_is_fitted(self)
        predicted = np.tile(self.median_, (len(samples), 1))
        if not len(samples):
            return predicted
        order = order_of(samples)
        samples = samples.take(order)
        matrices = {}
        for name in self.inputs:
            if BLOCK_OF_INPUT[name] in samples.blocks:
                block = samples.blocks[BLOCK_OF_INPUT[name]]
                require_same_layout(layout_of(name, block), self.layout_, name)
                matrices[name] = self._matrices(name, block)
        vectors = self._smoothed(samples, matrices)
        there = np.flatnonzero(~np.isnan(vectors).all(axis=1))
        if len(there):
            predicted[order[there]] = self.regressor_.predict(vectors[there])
        return predicted

    def check_state(self) -> None:
        """Refuse attributes that do not fit each other.

        Raises
        ------
        InputError
            If means, directions or slopes have other shapes than the options ask for.
        """
        check_options(self.get_params())
        self.regressor_.check_state()
        turned = self.reference == "training" and self.metric != "euclid"
        for kept, names in (
            (self.means_, set(self.inputs) - {"eeg"}),
            (self.directions_, set(self.inputs)),
            (self.centers_, set(self.inputs)),
            (self.turns_, set(self.inputs) if turned else set()),
        ):
            if set(kept) != names:
                raise InputError("means or directions are not those of the inputs")
        for name in self.inputs:
            kept = (self.means_, self.directions_, self.centers_, self.turns_)
            n_rows = self._n_components(name)
            require_shapes(name, *(part.get(name) for part in kept), n_rows=n_rows)
        n_features = sum(map(self._n_features, self.inputs))
        if self.regressor_.coef_.shape != (2, n_features):
            raise InputError(f"the slopes are not of shape {(2, n_features)}")

    def _fit(self, samples: Samples) -> tuple[Float[np.ndarray, "sample _"], Rows]:
        """Fit on sorted rows; return their vectors, and which were learned from."""
        check_options(self.get_params(deep=False))
        self.median_ = np.median(samples.require_targets(), axis=0)
        blocks = {
            name: samples.require_block(BLOCK_OF_INPUT[name]) for name in self.inputs
        }
        self.layout_ = sum((layout_of(*item) for item in blocks.items()), ())
        self.means_, self.directions_, self.centers_, self.turns_ = {}, {}, {}, {}
        vectors = self._smoothed(
            samples, {name: self._learn(name, blocks[name]) for name in self.inputs}
        )
        rows = np.flatnonzero(~np.isnan(vectors).all(axis=1))
        known = (vectors, samples)
        if len(rows) < len(samples):
            known = (vectors[rows], samples.take(rows))
        self.regressor_ = fit_regressor(self.regressor, *known)
        return vectors, rows

    def _learn(self, name: str, block: Block) -> Block:
        """Learn means and directions of an input; return its matrices."""
        if not (block.rows >= 0).any():
            raise InputError(f"no labeled row has {name} signals; leave that input out")
        if name != "eeg":
            self.means_[name] = mean_covariance(block)[None]
            self.directions_[name] = whitening_directions(
                self.means_[name][0],
                channel_sets(name, block),
                n_components=self.n_components,
            )[None]
        block = self._matrices(name, block)
        center = self.centers_[name] = mean_matrices(as_one_group(block))[0]
        if name == "eeg":
            self.directions_[name] = leading_of_bands(
                center,
                n_components=self.n_components,
                tolerance=rank_tolerance(center.shape[-1], np.dtype(np.float32)),
            )
        if self.reference == "training" and self.metric != "euclid":
            tangents = self._map(name, center[None])
            self.turns_[name] = find_turns(as_one_group(block), tangents, 0)
        return block

    def _matrices(self, name: str, block: Block) -> Block:
        """Return an input as stored matrices."""
        if name == "eeg":
            return block
        learned = (self.means_[name][0], self.directions_[name][0])
        delays = tuple(self.delays) if name == "eeg_delays" else ()
        return reduced_matrices(block, *learned, delays=delays, jobs=self.jobs)

    def _smoothed(
        self, samples: Samples, matrices: Mapping[str, Block]
    ) -> Float[np.ndarray, "sample feature"]:
        """Return the tangent vectors of all inputs, averaged in time."""
        columns = [
            self._vectors(name, samples, matrices[name])
            if name in matrices
            else np.full((len(samples), self._n_features(name)), np.nan, np.float32)
            for name in self.inputs
        ]
        vectors = columns[0] if len(columns) == 1 else np.hstack(columns)
        if 0 <= self.width_s <= 1:
            return vectors
        smooth = smooth_past if self.phase == "causal" else smooth_in_time
        trials, seconds = samples.trials, samples.seconds
        return smooth(vectors, trials, seconds, width_s=self.width_s)

    def _vectors(
        self, name: str, samples: Samples, block: Block
    ) -> Float[np.ndarray, "sample feature"]:
        """Return the tangent vectors of one input."""
        if self.reference == "training":
            tangents = self._map(name, self.centers_[name][None])
            turn = self.turns_.get(name)
            return group_tangents(as_one_group(block), tangents, lambda _: turn)
        names, person = encode(samples.people)
        groups = Groups(block.source, block.rows, person, len(names))
        references, at_rest = self._references(name, samples, groups)
        tangents = self._map(name, references)
        stays = at_rest | (self.metric == "euclid")
        turns = find_own_turns(groups, tangents, stays=stays)
        return group_tangents(groups, tangents, turns.__getitem__)

    def _references(
        self, name: str, samples: Samples, groups: Groups
    ) -> tuple[Float64[np.ndarray, "..."], Bool[np.ndarray, " person"]]:
        """Return where each person is recentered, and whether that is a rest."""
        at_rest = np.zeros(groups.n_groups, dtype=bool)
        references = np.full((groups.n_groups, *self.centers_[name].shape), np.nan)
        if name == "eeg" and self.reference == "person_rest":
            if REST in samples.blocks:
                rest = samples.blocks[REST]
                require_same_layout(layout_of("eeg", rest), self.layout_, "eeg")
                references = rest_matrices(rest, groups)
                power = np.nansum(references.diagonal(axis1=2, axis2=3), axis=2)
                at_rest = (power > 0).all(axis=1)
            measured = np.bincount(groups.codes, groups.rows >= 0, groups.n_groups) > 0
            if without := int(np.sum(measured & ~at_rest)):
                logger.warning(
                    "%d people have no rest in %s; they are recentered at the mean of "
                    "their own windows (transductive)",
                    *(without, REST),
                )
        if not at_rest.all():
            rows = np.where(at_rest[groups.codes], -1, groups.rows)
            own = mean_matrices(groups._replace(rows=rows))
            references = np.where(at_rest[:, None, None, None], references, own)
        return complete_references(references, self.centers_[name]), at_rest

    def _map(self, name: str, references: Float64[np.ndarray, "..."]) -> TangentMap:
        """Return how the matrices of an input become vectors at some references."""
        whole = np.eye(self._n_components(name))[None]
        return TangentMap(
            self.directions_[name] if name == "eeg" else whole,
            references,
            shrinkage=self.shrinkage,
            metric=self.metric,
            method=self.method,
            jobs=self.jobs,
        )

    def _n_components(self, name: str) -> int:
        """Return how many rows the recentered matrices of an input have."""
        copies = 1 + len(self.delays) if name == "eeg_delays" else 1
        return copies * self.directions_[name].shape[2]

    def _n_features(self, name: str) -> int:
        """Return how many numbers the tangent vectors of an input have."""
        n = self._n_components(name)
        return len(self.directions_[name]) * n * (n + 1) // 2
