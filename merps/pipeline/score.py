"""Scores of a file of predictions."""

from pathlib import Path

from merps.predictions import match_predictions, read_predictions, read_targets
from merps.scores import score


def score_predictions(
    predictions: Path | str, targets: Path | str
) -> tuple[dict[str, float], int]:
    """Score a file of predictions as the challenge does.

    Parameters
    ----------
    predictions : Path
        ``predictions.csv``, rows in any order.
    targets : Path
        ``targets.csv`` with the same ids.

    Returns
    -------
    dict of float
        Metrics as from `merps.scores.score`.
    int
        Number of samples.

    Raises
    ------
    DataError
        If a file cannot be read, ids differ, or values are not numbers in 1..255.
    """
    ids, values = read_predictions(Path(predictions))
    asked, truth = read_targets(Path(targets))
    values = match_predictions(ids, values, expected=asked, where=str(predictions))
    return score(values, truth), len(asked)
