"""The order of all stages and nothing else."""

import importlib
from typing import Any

# A stage is imported when it is first asked for: reading takes no models.
_HOMES = {
    "merps.pipeline.evaluate": ("Evaluation", "evaluate_model"),
    "merps.pipeline.features": ("extract_samples",),
    "merps.pipeline.models": ("MODELS", "Fitted", "fit_model", "make_model"),
    "merps.pipeline.predict": ("Predicted", "predict_dataset"),
    "merps.pipeline.preprocess": ("Preprocessed", "preprocess_dataset"),
    "merps.pipeline.score": ("score_predictions",),
    "merps.pipeline.trials": ("preprocess_trial",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a stage on first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'merps.pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
