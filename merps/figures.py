"""Figures of results; only for data that may be shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from merps.errors import InputError
from merps.samples import Samples
from merps.scores import DIMENSIONS
from merps.shapes import SampleTargets

# Okabe and Ito's colors, which people with any color vision tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_STYLES = ("--", "-", "-.", ":")


def plot_trajectories(
    path: Path,
    samples: Samples,
    predictions: Mapping[str, SampleTargets],
    *,
    person: str,
    stimuli: Sequence[str],
    title: str,
) -> None:
    """Draw true and predicted ratings of some trials of one person.

    Parameters
    ----------
    path : Path
        The picture to write; its ending decides the format.
    samples : Samples
        Rows with targets.
    predictions : mapping of str to ndarray of float64, shape (sample, 2)
        What each model says of these rows.
    person : str
        Whose trials.
    stimuli : sequence of str
        Which trials, one column each.
    title : str
        Stands above the figure; says what data these are.

    Raises
    ------
    InputError
        If a trial is not there, or none is asked for.
    """
    from matplotlib.figure import Figure

    if not stimuli:
        raise InputError("stimuli names no trial to draw")
    figure = Figure(figsize=(3.4 * len(stimuli) + 0.6, 5.2), layout="constrained")
    axes = figure.subplots(2, len(stimuli), sharex="col", sharey=True, squeeze=False)
    targets = samples.require_targets()
    for column, stimulus in enumerate(stimuli):
        shown = (samples.people == person) & (samples.stimuli == stimulus)
        if not shown.any():
            raise InputError(f"no samples of {person} during {stimulus} to draw")
        rows = np.flatnonzero(shown)
        rows = rows[np.argsort(samples.seconds[rows])]
        seconds = samples.seconds[rows]
        for k, dimension in enumerate(DIMENSIONS):
            axis = axes[k, column]
            axis.plot(seconds, targets[rows, k], color="0.15", lw=1.8, label="rated")
            for number, (name, values) in enumerate(predictions.items()):
                axis.plot(
                    seconds,
                    values[rows, k],
                    color=_COLORS[number % len(_COLORS)],
                    ls=_STYLES[number % len(_STYLES)],
                    lw=1.5,
                    label=name,
                )
            axis.set_ylim(1, 255)
            axis.set_yticks([1, 64, 128, 192, 255])
            axis.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axis.set_ylabel(dimension)
        axes[0, column].set_title(f"{person}, {stimulus}", fontsize=10)
        axes[1, column].set_xlabel("seconds after onset")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
