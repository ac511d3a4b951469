"""Continuous valence and arousal from synchronized EEG and fNIRS."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives; a module is imported when its name is first used.
_HOMES = {
    "merps.batches": ("WindowSet",),
    "merps.config": ("Config", "load_config"),
    "merps.datasets.mer_ps": ("MerPsDataset", "open_dataset"),
    "merps.datasets.simulate": ("simulate_dataset",),
    "merps.derivatives": ("export_bids",),
    "merps.errors": ("MerpsError",),
    "merps.export": ("export_windows",),
    "merps.features.covariance": (
        "covariances",
        "filter_bank_covariances",
        "window_covariances",
    ),
    "merps.features.hemodynamics": ("summarize_hemodynamics", "summarize_spans"),
    "merps.features.manifold": (
        "from_tangent",
        "log_euclidean_distance",
        "log_euclidean_mean",
        "riemannian_distance",
        "riemannian_mean",
        "tangent_vectors",
    ),
    "merps.features.spectral": (
        "band_power",
        "differential_entropy",
        "log_band_power",
        "sliding_band_power",
    ),
    "merps.features.temporal": ("smooth_in_time",),
    "merps.features.triangles": ("StoredMatrices", "trial_covariances"),
    "merps.features.waveform": ("average_samples", "hjorth", "sliding_hjorth"),
    "merps.inspection": ("check_dataset",),
    "merps.models.blend": ("FixedBlend",),
    "merps.models.convolutional": ("ConvolutionalRegressor",),
    "merps.models.fusion": ("ResidualFusion",),
    "merps.models.joint": ("JointWindows", "joint_series"),
    "merps.models.merging": ("merge_convolutions",),
    "merps.models.persistence": ("load_model", "save_model"),
    "merps.models.priors": ("ConstantPrior", "VideoPrior", "VideoTimePrior"),
    "merps.models.regression": ("HuberRegressor", "RidgeRegressor"),
    "merps.models.riemannian": ("RiemannianRegressor",),
    "merps.models.signals": ("SignalModel",),
    "merps.models.tangent": ("SpatialReduction", "TangentSpace"),
    "merps.pipeline": (
        "evaluate_model",
        "extract_samples",
        "fit_model",
        "make_model",
        "predict_dataset",
        "preprocess_dataset",
        "preprocess_trial",
        "score_predictions",
    ),
    "merps.predictions": ("read_predictions", "read_targets", "write_predictions"),
    "merps.preprocessing.bad_channels": ("find_bad_channels",),
    "merps.preprocessing.coupling": ("peak_power", "scalp_coupling_index"),
    "merps.preprocessing.filters": ("band_pass", "notch", "resample"),
    "merps.preprocessing.motion": ("find_motion", "spline_motion"),
    "merps.preprocessing.optics": ("beer_lambert", "optical_density"),
    "merps.preprocessing.quality": ("measure_quality",),
    "merps.preprocessing.repair": ("fill_gaps", "tddr"),
    "merps.preprocessing.retiming": ("retime",),
    "merps.preprocessing.synchrony": ("Clock", "fit_clock", "fit_label_grid"),
    "merps.readers.mat5": ("MatFile", "write_mat5"),
    "merps.proposal": ("init_config",),
    "merps.readers.files": ("open_recording",),
    "merps.readers.raws": ("from_mne",),
    "merps.recording": ("Baseline", "Recording", "Trial"),
    "merps.samples": ("Samples",),
    "merps.scores": ("score",),
    "merps.splits": ("folds",),
    "merps.store": ("Store",),
    "merps.submission": ("check_bundle", "write_bundle"),
    "merps.windows": ("WindowGrid", "gather_windows", "window_views"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'merps' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
