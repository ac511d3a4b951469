"""What the studies share: trials in a store, rows of one table, one way to fail."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from merps.errors import MerpsError
from merps.evaluation.protocol import ProtocolResult
from merps.evaluation.uncertainty import Interval, bootstrap_people, paired_difference
from merps.recording import Trial
from merps.samples import Samples
from merps.store import Store, publish_person

#: "Pearson added" is that of what a model adds to the constant of the same fold: the
#: constant alone has a negative one where it comes from stimuli of other labels.
HEADER = tuple("data|held out|model|MAE|over constant|Pearson|Pearson added".split("|"))
SEED = 0
_CENTER = 128.0  # of the scale of merps
_DRAWS = 2000
_KEY = "0" * 32  # a store in a temporary folder is filled once


def keep(
    folder: Path, people: Iterable[Sequence[Trial]], *, source: str, terms: str
) -> Store:
    """Write the trials of each person into a new store."""
    store = Store.create(folder, config={}, source=source, role="train", terms=terms)
    for own in people:
        person = own[0].person
        publish_person(folder, person, _KEY, own, sidecar={})
        store.record(person, _KEY)
    return store


def rows(
    data: str,
    results: Iterable[ProtocolResult],
    samples: Samples,
    *,
    names: Mapping[str, str],
    scale: float = 1.0,
) -> Iterator[tuple[str, ...]]:
    """Score the named models, with 95 % intervals by resampling people."""
    targets, people = samples.require_targets(), samples.people
    options = {"n_resamples": _DRAWS, "seed": SEED}
    for result in results:
        constant = result.predictions["constant"]
        for model, name in names.items():
            if model not in result.predictions:
                continue
            made = result.predictions[model]
            added = _CENTER + made - constant
            gain = paired_difference(made, constant, targets, people, **options)
            scores, beyond = (
                bootstrap_people(x, targets, people, **options) for x in (made, added)
            )
            yield (
                data,
                result.protocol,
                name,
                _show(scores["mae"], scale),
                _show(gain["mae"], scale),
                _show(scores["pearson"]),
                _show(beyond["pearson"]),
            )


def table(lines: Iterable[Sequence[str]]) -> str:
    """Line up columns under `HEADER`; a rule parts what differs in the first two."""
    lines = [HEADER, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    text, former = [], None
    for line in lines:
        if line[:2] != former and former is not None:
            text.append(rule)
        former = line[:2]
        cells = (cell.ljust(w) for cell, w in zip(line, widths, strict=True))
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def main(
    description: str, study: Callable[..., Iterable[Sequence[str]]], data: str
) -> None:
    """Run a study from the command line and print its table."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("data", type=Path, help=data)
    parser.add_argument("--jobs", type=int, default=2, help="folds at a time")
    options = parser.parse_args()
    try:
        print(table(study(options.data, jobs=options.jobs)))
    except MerpsError as error:
        parser.exit(error.exit_code, f"{error}\n")


def _show(interval: Interval, scale: float = 1.0) -> str:
    """Write a value and its interval."""
    value, low, high = (
        x / scale for x in (interval.value, interval.low, interval.high)
    )
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
