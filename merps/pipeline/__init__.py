"""The order of all stages and nothing else."""

from merps.pipeline.evaluate import Evaluation, evaluate_model
from merps.pipeline.features import extract_samples
from merps.pipeline.models import MODELS, Fitted, fit_model, make_model
from merps.pipeline.predict import Predicted, predict_dataset
from merps.pipeline.preprocess import (
    Preprocessed,
    preprocess_dataset,
    preprocess_trial,
)

__all__ = [
    "MODELS",
    "Evaluation",
    "Fitted",
    "Predicted",
    "Preprocessed",
    "evaluate_model",
    "extract_samples",
    "fit_model",
    "make_model",
    "predict_dataset",
    "preprocess_dataset",
    "preprocess_trial",
]
