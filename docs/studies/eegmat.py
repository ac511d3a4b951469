"""Find a planted coupling in the real EEG of eight people with channels of their own.

    python docs/studies/eegmat.py FOLDER

FOLDER holds EEGMAT (EEG During Mental Arithmetic Tasks, PhysioNet), of which one file a
person is used. What these people felt is not known: ratings are simulated, and sources
that follow them are mixed into each person's own recording.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import study

from merps.config import Config
from merps.datasets.simulate.backgrounds import RecordedBackground
from merps.datasets.simulate.oracle import score_oracle
from merps.datasets.simulate.signals import PlantedEeg
from merps.datasets.simulate.world import REST_S, VIDEO_SECONDS, World
from merps.errors import mismatch
from merps.evaluation.protocol import RUNGS, evaluate
from merps.features.triangles import StoredMatrices, trial_covariances
from merps.models.riemannian import RiemannianRegressor
from merps.models.signals import SignalModel
from merps.pipeline import extract_samples, preprocess_trial
from merps.readers.neuro import read_eeg
from merps.recording import Baseline, Recording, Trial
from merps.samples import Block, Samples
from merps.store import Store
from merps.windows import WindowGrid

SUBJECTS = ("00", "03", "06", "08", "13", "20", "21", "29")
#: The 10-20 system under the names of the files; A2-A1 and the ECG stay out.
CHANNELS = tuple("Fp1 Fp2 F3 F4 F7 F8 T3 T4 C3 C4 T5 T6 P3 P4 O1 O2 Fz Cz Pz".split())
COUPLINGS = (0.0, 1.0)
PROTOCOLS = ("people", "videos", "both")
_RATE_HZ = 200.0
_FILES = "files SubjectNN_2.edf of EEGMAT (https://physionet.org/content/eegmat)"


def background(file: Path) -> RecordedBackground:
    """Return one person's recording as the only background of that person."""
    if not file.is_file():
        raise mismatch(
            file,
            expected=f"one of the {_FILES}",
            found="no such file",
            remedy="download them and pass their folder",
        )
    recording = read_eeg(file)
    missing = sorted(set(CHANNELS) - set(recording.channels))
    if missing:
        raise mismatch(
            file,
            expected=f"EEG channels {', '.join(CHANNELS)}",
            found=f"none named {', '.join(missing)}",
            remedy=f"pass a folder with the {_FILES}",
        )
    picked = [recording.channels.index(name) for name in CHANNELS]
    eeg = replace(recording, signal=recording.signal[picked], channels=CHANNELS)
    return RecordedBackground({file: eeg}, CHANNELS, 1e6)


def positions() -> np.ndarray:
    """Return where the electrodes are on a head of unit radius."""
    import mne

    placed = mne.channels.make_standard_montage("colin27_1005").get_positions()
    places = np.array([placed["ch_pos"][name] for name in CHANNELS])
    places -= places.mean(axis=0) * [1, 1, 0]
    return places / np.linalg.norm(places, axis=1, keepdims=True)


def trials(
    world: World, person: int, name: str, recorded: RecordedBackground
) -> Iterator[Trial]:
    """Yield each video of one person, preprocessed as by default."""
    planted = PlantedEeg(world, person, recorded, positions())
    n_rest = round(REST_S * _RATE_HZ)
    for video, stimulus in enumerate(world.stimuli):
        whole = Recording(
            planted.trial(video, _RATE_HZ).astype(np.float64),
            rate_hz=_RATE_HZ,
            start_s=-REST_S,
            channels=CHANNELS,
            quantity="voltage",
            unit="uV",
        )
        trial = Trial(
            name,
            stimulus,
            eeg=whole.with_signal(whole.signal[:, n_rest:], start_s=0.0),
            baseline=Baseline(eeg=whole.with_signal(whole.signal[:, :n_rest])),
            targets=world.targets(person, video),
        )
        yield preprocess_trial(trial, Config().preprocess)


def with_covariances(samples: Samples, store: Store) -> Samples:
    """Add the covariance matrices of each second, and of each person's rest."""
    config = Config()
    grid = WindowGrid(step_s=1.0, **config.windows.model_dump())
    bands = config.features.bands
    length = grid.length(_RATE_HZ)
    options = {"length_samples": length, "rate_hz": _RATE_HZ, "bands": bands}
    options |= config.preprocess.eeg.band_pass.model_dump(include={"order", "pad_s"})
    values, rests, owners = [], [], []
    for number, person in enumerate(store.people):
        own_rest = []
        with store.person(person) as stored:
            for trial in stored.trials():
                seconds = grid.starts(trial.eeg, len(trial.targets))
                # Before them windows inside the rest, one a second.
                n_rest = round(-trial.eeg.start_s * _RATE_HZ)
                at_rest = np.arange(0, n_rest - length + 1, round(_RATE_HZ))
                starts = np.concatenate([at_rest, seconds])
                found = trial_covariances(
                    trial.eeg.signal, starts, estimator="oas", **options
                )
                own_rest.append(found[: len(at_rest)])
                values.append(found[len(at_rest) :])
                owners += [number] * len(seconds)
        rests.append(np.concatenate(own_rest).mean(axis=0))
    names = {"channels": CHANNELS, "bands": tuple(bands)}
    seen = StoredMatrices(np.concatenate(values), **names)
    rest = StoredMatrices(np.stack(rests), **names)
    blocks = {
        "eeg_covariances": Block(seen, np.arange(len(samples))),
        "eeg_rest_covariances": Block(rest, np.array(owners)),
    }
    return replace(samples, blocks=blocks)


def run(
    folder: Path,
    *,
    subjects: Sequence[str] = SUBJECTS,
    video_s: Sequence[int] = VIDEO_SECONDS,
    jobs: int = 2,
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, the oracle's last under each protocol."""
    recorded = {f"S{s}": background(folder / f"Subject{s}_2.edf") for s in subjects}
    models = {"bandpower": SignalModel, "riemannian": RiemannianRegressor}
    names = {name: name for name in (*RUNGS, *models)}
    for coupling in COUPLINGS:
        world = World(study.SEED, coupling, video_s=tuple(video_s))
        people = (
            list(trials(world, person, name, recorded[name]))
            for person, name in enumerate(recorded)
        )
        with tempfile.TemporaryDirectory() as scratch:
            store = study.keep(
                Path(scratch) / "store",
                people,
                source="eegmat",
                terms="Open Data Commons Attribution License 1.0",
            )
            samples = extract_samples(store, jobs=jobs)
            samples = with_covariances(samples, store)
        options = {"seed": study.SEED, "jobs": jobs, "emotions": world.emotions}
        results = evaluate(samples, models, PROTOCOLS, **options)
        oracle = score_oracle(
            world,
            tuple(recorded),
            seed=study.SEED,
            width_s=Config().features.width_s,
            protocols=PROTOCOLS,
        )
        for result in results:
            label = f"coupling {coupling:g}"
            yield from study.rows(label, [result], samples, names=names)
            best = oracle[result.protocol]
            scores = (f"{best['mae']:.2f}", "", f"{best['pearson']:.2f}", "")
            yield (label, result.protocol, "oracle", *scores)


if __name__ == "__main__":
    study.main(__doc__, run, f"folder with the {_FILES}")
