"""One person of a MER-PS or REFED folder, open for reading trial by trial."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from merps.datasets.arrays import (
    EEG_CHANNELS,
    FNIRS_CHANNELS,
    FNIRS_KINDS,
    FNIRS_QUANTITIES,
    FNIRS_RATE_HZ,
)
from merps.datasets.layout import SIGNAL_FILES, Folder, Part
from merps.datasets.survey import PersonFiles, Survey, TrialFailure, TrialPlan
from merps.errors import InputError, MerpsError, mismatch
from merps.predictions import name_some
from merps.recording import Baseline, Recording, Trial
from merps.shapes import Signal

logger = logging.getLogger(__name__)


class OpenPerson:
    """The trials of one person, planned when opened and read when asked for.

    Use it in a ``with`` block; trials stay valid after it, as long as nobody changes
    the files. Several threads may read trials at once.

    Parameters
    ----------
    folder : Folder
        The data folder.
    person : str
        Name of the person.
    seconds : mapping of str to int
        By stimulus, the number of seconds that `sample_ids.csv` asks for.
    mask : ndarray of bool, shape (channel,), optional
        True where an fNIRS channel is missing.

    """

    def __init__(
        self,
        folder: Folder,
        person: str,
        *,
        seconds: Mapping[str, int],
        mask: Bool[np.ndarray, " channel"] | None,
    ) -> None:
        self._files = PersonFiles(folder, person)
        self._seconds = seconds
        self._mask = mask
        self._silent: dict[Part, set[str]] = {part: set() for part in SIGNAL_FILES}
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._survey: Survey | None = None

    def __enter__(self) -> "OpenPerson":
        with ExitStack() as stack:
            files = stack.enter_context(self._files)
            self._survey = files.survey(seconds=self._seconds, mask=self._mask)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def survey(self) -> Survey:
        """Trials, failures and notes as shapes and labels announce them."""
        if self._survey is None:
            raise InputError("open the person in a with block first")
        return self._survey

    @property
    def plans(self) -> tuple[TrialPlan, ...]:
        """Trials that can be read, in stimulus order."""
        return self.survey.plans

    @property
    def failures(self) -> tuple[TrialFailure, ...]:
        """What cannot be used, as far as shapes and labels tell."""
        return self.survey.failures

    def read(self, plan: TrialPlan) -> list[Trial | TrialFailure]:
        """Read one trial.

        Signals of uncompressed files are read-only views of the mapped file, unless
        samples had to be marked as missing.

        Parameters
        ----------
        plan : TrialPlan
            One of `plans`.

        Returns
        -------
        list of Trial or TrialFailure
            Parts that cannot be read, and then the trial, unless no signal is left.
            A part without any finite sample is left out; see `silent`.
        """
        return self._read(plan, unseen=())

    def view(self, plan: TrialPlan) -> list[Trial | TrialFailure]:
        """Show one trial without a look at the samples of its EEG.

        For callers that look at each of them anyway, and `read` the trial where they
        find infinite ones, or none that is finite.

        Parameters
        ----------
        plan : TrialPlan
            One of `plans`.

        Returns
        -------
        list of Trial or TrialFailure
            As from `read`, but infinite samples of the EEG are still there, and so is
            an EEG without any finite sample.
        """
        return self._read(plan, unseen=("eeg",))

    def _read(
        self, plan: TrialPlan, *, unseen: Sequence[Part]
    ) -> list[Trial | TrialFailure]:
        """Read one trial; some of its parts as they are."""
        items: list[Trial | TrialFailure] = []
        notes = list(plan.notes)
        lengths = {"eeg": plan.alignment.n_eeg, "fnirs": plan.alignment.n_fnirs}
        signals: dict[Part, Signal] = {}
        for part in plan.axes:
            try:
                signal = self._files.view(part, plan)
            except MerpsError as error:
                items.append(TrialFailure(plan.person, plan.stimulus, str(error)))
                continue
            signal = signal[..., : lengths.get(part)]
            if part in unseen:
                signals[part] = signal
                continue
            mask = self._mask if part.startswith("fnirs") else None
            signal, n_infinite = _mark_missing(signal, mask)
            if n_infinite:
                notes.append(f"{n_infinite} infinite samples of {part} are missing")
            if signal is None:
                with self._lock:
                    self._silent[part].add(plan.stimulus)
            else:
                signals[part] = signal
        if "eeg" not in signals and "fnirs" not in signals:
            return items
        wrap_fnirs = partial(_fnirs, mask=self._mask)
        eeg, eeg_rest = _wrap(_eeg, signals, "eeg", plan.alignment.eeg_rate_hz)
        fnirs, fnirs_rest = _wrap(wrap_fnirs, signals, "fnirs", FNIRS_RATE_HZ)
        logger.debug("%s %s: %d s", plan.person, plan.stimulus, plan.alignment.seconds)
        trial = Trial(
            person=plan.person,
            stimulus=plan.stimulus,
            eeg=eeg,
            fnirs=fnirs,
            baseline=Baseline(eeg=eeg_rest, fnirs=fnirs_rest),
            targets=plan.targets,
            notes=tuple(notes),
        )
        return [*items, trial]

    def release(self, plan: TrialPlan) -> None:
        """Let go of the memory that holds the files' part of a trial.

        Its arrays stay valid, but using them again brings that memory back.

        Parameters
        ----------
        plan : TrialPlan
            A trial that was read.
        """
        for part in plan.axes:
            self._files.release(part, plan)

    def silent(self) -> list[TrialFailure]:
        """Tell which modalities had no finite sample, in the trials read so far.

        Returns
        -------
        list of TrialFailure
            One for each file, with all its trials.
        """
        with self._lock:
            found = [(part, sorted(names)) for part, names in self._silent.items()]
        return [
            TrialFailure(
                self._files.person,
                stimuli[0] if len(stimuli) == 1 else None,
                str(
                    mismatch(
                        self._files.files[part].path,
                        expected="finite samples in each video",
                        found=f"none in {name_some(stimuli)}",
                        remedy="export these recordings again, or leave them out",
                    )
                ),
            )
            for part, stimuli in found
            if stimuli
        ]


def _mark_missing(
    signal: Signal, mask: Bool[np.ndarray, " channel"] | None
) -> tuple[Signal | None, int]:
    """Make masked and infinite samples NaN in a copy; count the infinite ones.

    The signal is None if nothing finite is left, and no copy if nothing is missing.
    """
    finite = _is_finite(signal)
    if mask is not None and mask.any():
        signal = signal.copy(order="K")
        signal[..., mask, :] = np.nan
    if finite:
        return signal, 0
    infinite = np.isinf(signal)
    n_infinite = int(np.count_nonzero(infinite))
    if n_infinite:
        signal = signal.copy(order="K")
        signal[infinite] = np.nan
    return None if np.isnan(signal).all() else signal, n_infinite


def _is_finite(signal: Signal) -> bool:
    """Tell that every sample is finite; numbers near overflow may deny it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.sum(signal)))


def _eeg(
    signal: Float[np.ndarray, "channel time"], *, rate_hz: float, start_s: float
) -> Recording:
    """Wrap an EEG array; the sources state no unit, microvolts fit their values."""
    return Recording(
        signal=signal,
        rate_hz=rate_hz,
        start_s=start_s,
        channels=EEG_CHANNELS,
        quantity="voltage",
        unit="uV",
    )


def _fnirs(
    signal: Float[np.ndarray, "kind channel time"],
    *,
    rate_hz: float,
    start_s: float,
    mask: Bool[np.ndarray, " channel"] | None,
) -> Recording:
    """Wrap an fNIRS array; the sources state no unit."""
    return Recording(
        signal=signal,
        rate_hz=rate_hz,
        start_s=start_s,
        channels=FNIRS_CHANNELS,
        quantity=FNIRS_QUANTITIES,
        unit=("a.u.",) * len(FNIRS_KINDS),
        kinds=FNIRS_KINDS,
        mask=mask,
    )


def _wrap(
    wrap: Callable[..., Recording],
    signals: Mapping[Part, np.ndarray],
    part: Part,
    rate_hz: float | None,
) -> tuple[Recording | None, Recording | None]:
    """Wrap a modality, which starts at onset, and its baseline, which ends there."""
    if part not in signals:
        return None, None
    trial = wrap(signals[part], rate_hz=rate_hz, start_s=0.0)
    rest = signals.get(f"{part}_baseline")
    if rest is None:
        return trial, None
    return trial, wrap(rest, rate_hz=rate_hz, start_s=-rest.shape[-1] / rate_hz)
