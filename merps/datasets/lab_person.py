"""One person of a lab's folder: recordings cut into trials."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from merps.datasets.cutting import Span, cut, reconcile
from merps.datasets.gathering import NAMES, Gathered, gather
from merps.datasets.lab_records import LabFile, LabOptions, LabPlan, LabSurvey
from merps.datasets.label_grid import time_by_labels
from merps.datasets.ratings import Ratings, per_second, read_ratings, rescale
from merps.datasets.rests import as_rest_of, choose_rest, require_alike
from merps.datasets.survey import TrialFailure
from merps.errors import InputError, MerpsError, mismatch
from merps.predictions import name_some
from merps.readers.streams import Modality, Stream
from merps.recording import Baseline, Recording, Trial
from merps.shapes import Targets


class OpenLab:
    """The trials of one person, planned when opened and read when asked for.

    Use it in a ``with`` block. Several threads may read trials at once.

    Parameters
    ----------
    person : str
        Name of the person.
    files : sequence of LabFile
        Recordings of the person.
    options : LabOptions
        How they are cut.
    """

    def __init__(
        self, person: str, files: Sequence[LabFile], options: LabOptions
    ) -> None:
        self.person = person
        self._files, self._options = files, options
        self._lock = threading.Lock()
        # By the id of a stream: those of a plan live as long as the survey does.
        self._loaded: dict[int, Recording] = {}
        self._waiting: Counter[int] = Counter()
        self._survey: LabSurvey | None = None

    def __enter__(self) -> "OpenLab":
        found = gather(self._files, self._options)
        failures = [TrialFailure(self.person, *failure) for failure in found.failures]
        plans = []
        rated = self._rate(found, failures)
        for name in sorted(rated, key=lambda name: self._options.stimuli[name]):
            try:
                plans.append(self._plan(name, found, *rated[name], failures))
            except MerpsError as error:
                stimulus = self._options.stimuli[name]
                failures.append(TrialFailure(self.person, stimulus, str(error)))
        for plan in plans:
            self._waiting.update(map(id, _streams(plan)))
        self._survey = LabSurvey(tuple(plans), tuple(failures))
        return self

    def __exit__(self, *_: object) -> None:
        self._loaded.clear()

    @property
    def survey(self) -> LabSurvey:
        """Trials, failures and notes as headers and ratings announce them."""
        if self._survey is None:
            raise InputError("open the person in a with block first")
        return self._survey

    @property
    def plans(self) -> tuple[LabPlan, ...]:
        """Trials that can be read, in stimulus order."""
        return self.survey.plans

    @property
    def failures(self) -> tuple[TrialFailure, ...]:
        """What cannot be used, as far as headers and ratings tell."""
        return self.survey.failures

    def read(self, plan: LabPlan) -> list[Trial | TrialFailure]:
        """Read one trial.

        Parameters
        ----------
        plan : LabPlan
            One of `plans`.

        Returns
        -------
        list of Trial or TrialFailure
            Modalities that cannot be read, or without any finite sample, and then the
            trial, unless no signal is left.
        """
        items: list[Trial | TrialFailure] = []
        signals, rests = {}, {}
        notes = list(plan.notes)
        for modality, piece in plan.cuts.items():
            try:
                whole = self._load(piece.stream)
                signal, rest, n_infinite = cut(whole, piece)
                if not np.isfinite(signal.signal).any():
                    raise mismatch(
                        piece.path,
                        expected=f"finite samples of {NAMES[modality]}",
                        found=f"none in {plan.stimulus}",
                        remedy="export the recording again, or leave it out",
                    )
            except MerpsError as error:
                items.append(TrialFailure(self.person, plan.stimulus, str(error)))
                continue
            if n_infinite:
                notes.append(f"{n_infinite} infinite samples of {modality} are missing")
            signals[modality], rests[modality] = signal, rest
            if modality in plan.rests:
                try:
                    rest = self._load(plan.rests[modality])
                    rests[modality] = as_rest_of(rest, signal)
                except MerpsError as error:
                    items.append(TrialFailure(self.person, plan.stimulus, str(error)))
        if not signals:
            return items
        trial = Trial(
            person=plan.person,
            stimulus=plan.stimulus,
            eeg=signals.get("eeg"),
            fnirs=signals.get("fnirs"),
            baseline=Baseline(eeg=rests.get("eeg"), fnirs=rests.get("fnirs")),
            targets=plan.targets,
            notes=tuple(notes),
            clock=plan.clock if len(signals) > 1 else {},
        )
        return [*items, trial]

    view = read

    def release(self, plan: LabPlan) -> None:
        """Forget a file once its last trial was read.

        Parameters
        ----------
        plan : LabPlan
            A trial that was read.
        """
        with self._lock:
            for stream in _streams(plan):
                self._waiting[id(stream)] -= 1
                if self._waiting[id(stream)] <= 0:
                    self._loaded.pop(id(stream), None)

    def silent(self) -> list[TrialFailure]:
        """Tell of nothing: `read` does where it happens.

        Returns
        -------
        list of TrialFailure
            Empty.
        """
        return []

    def _load(self, stream: Stream) -> Recording:
        """Read one modality of a file, once for all its trials."""
        with self._lock:
            if id(stream) not in self._loaded:
                self._loaded[id(stream)] = _in_stored_unit(stream.load())
            return self._loaded[id(stream)]

    def _rate(
        self, found: Gathered, failures: list[TrialFailure]
    ) -> dict[str, tuple[Targets | None, list[str]]]:
        """Read the ratings of all trials, which may tell the rates of the recordings.

        Those that cannot be used are left out and told.
        """
        rated: dict[str, tuple[Targets | None, list[str]]] = {}
        for name, spans in found.spans.items():
            targets, notes = None, []
            try:
                targets = self._read_targets(name, spans, notes)
            except MerpsError as error:
                stimulus = self._options.stimuli[name]
                failures.append(TrialFailure(self.person, stimulus, str(error)))
            rated[name] = targets, notes
        if self._options.by_labels:
            n_labels = {n: len(t) for n, (t, _) in rated.items() if t is not None}
            found.spans = time_by_labels(found.spans, n_labels)
        return rated

    def _plan(
        self,
        name: str,
        found: Gathered,
        targets: Targets | None,
        rating_notes: Sequence[str],
        failures: list[TrialFailure],
    ) -> LabPlan:
        """Plan one trial; a rest that cannot be used is left out and told."""
        spans, stimulus = found.spans[name], self._options.stimuli[name]
        notes = [note for span in spans.values() for note in span.stream.notes]
        ties = [span.tie for span in spans.values() if span.tie is not None]
        notes += [*(tie.describe() for tie in ties), *rating_notes]
        where = f"{self.person} {name}"
        cuts = reconcile(
            where,
            spans,
            None if targets is None else len(targets),
            is_marked=self._options.by_annotation,
            rest_s=self._options.rest_s if self._options.by_annotation else 0.0,
            notes=notes,
        )
        rests = {}
        for modality, span in spans.items():
            session = span.file.names.get("session")
            rest = choose_rest(found.rests.get(modality, ()), session, notes)
            try:
                if rest is not None:
                    header = span.stream.header
                    require_alike(rest.header, header, f"{self.person} {modality}")
                    rests[modality] = rest
            except MerpsError as error:
                failure = TrialFailure(self.person, None, str(error))
                if failure not in failures:  # all trials have it
                    failures.append(failure)
        return LabPlan(
            person=self.person,
            stimulus=stimulus,
            cuts=cuts,
            targets=targets,
            notes=tuple(dict.fromkeys(notes)),
            rests=rests,
            clock=ties[0].facts() if ties else {},
        )

    def _read_targets(
        self, name: str, spans: Mapping[Modality, Span], notes: list[str]
    ) -> Targets | None:
        """Read the ratings of one trial; None where there are none."""
        options = self._options.targets or {}
        scale = options.get("scale") and tuple(options["scale"])
        for span in spans.values():
            ratings = span.file.ratings and span.file.ratings()
            if ratings:
                times_s = ratings.times_s
                if span.tie is not None:
                    times_s = span.tie.clock.to_reference(times_s)
                shifted = replace(ratings, times_s=times_s - span.onset_s)
                until = shifted.times_s < (span.stated_s or np.inf)
                kept = Ratings(shifted.times_s[until], shifted.values[until])
                values = per_second(f"{span.file.path} {name}", kept)
                return rescale(span.file.path, values, scale)
        if options.get("path") is None:
            return None
        first = next(iter(spans.values()))
        names = dict(first.file.names)
        if self._options.by_annotation or not names.get("stimulus"):
            names["stimulus"] = name
        names = {key: value for key, value in names.items() if value}
        files = self._options.rating_files(**names)
        if len(files) != 1:
            text = name_some(path.name for path in files)
            if files:
                raise mismatch(
                    f"{self.person} {name}",
                    expected="one table of ratings",
                    found=text,
                    remedy="name {person} and {stimulus} in dataset.targets.path",
                )
            notes.append("no ratings, there is no table of them")
            return None
        columns = {k: options[k] for k in ("time", "valence", "arousal")}
        ratings = read_ratings(
            files[0],
            **columns,
            rate_hz=options["rate_hz"],
            offset_s=options["offset_s"] - first.skipped_s,
        )
        values = per_second(files[0], ratings)
        if not self._options.by_annotation and first.stated_s is not None:
            values = values[: round(first.stated_s)]  # what both files cover
        return rescale(files[0], values, scale)


def _streams(plan: LabPlan) -> list[Stream]:
    """List what has to be read for a trial."""
    return [*(piece.stream for piece in plan.cuts.values()), *plan.rests.values()]


def _in_stored_unit(recording: Recording) -> Recording:
    """Return volts as microvolts, as those of MER-PS are thought to be."""
    if recording.unit != "V":
        return recording
    return replace(recording, unit="uV", signal=1e6 * recording.signal)
