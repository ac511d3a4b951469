"""Files whose stated rate is wrong, and whose ratings tell the right one."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from recorded import make_intensity, write_edf, write_fnirs
from test_lab import described, read_all, write_ratings

from merps.dataset_options import SynchronyConfig
from merps.datasets.gathering import gather
from merps.datasets.lab_records import LabFile, LabOptions
from merps.readers.streams import Stream
from merps.recording import Recording

SECONDS = (40, 47, 61, 75, 90, 118)
NAMES = ["Cz", "Pz"]


def write_folder(root, rng, *, true_hz):
    """Films that begin with their ratings; the EDF says 100 Hz, the fNIRS is right."""
    root.mkdir(parents=True, exist_ok=True)
    for k, n_seconds in enumerate(SECONDS):
        over_s = rng.uniform(0, 0.4)  # devices stop a little after the film
        eeg = 50 * rng.normal(
            size=(2, round((n_seconds + over_s) * true_hz / 100) * 100)
        )
        write_edf(root / f"anna_{k}.edf", eeg, NAMES, rate_hz=100)
        n_times = round((n_seconds + over_s) * 10)
        write_fnirs(root / f"anna_{k}.snirf", make_intensity(rng, n_times=n_times))
        write_ratings(root / f"anna_{k}.csv", n_seconds, seed=k)


def by_labels(by="labels", **options):
    return described(
        *("{person}_{stimulus}.edf", "{person}_{stimulus}.snirf"),
        targets={"path": "{person}_{stimulus}.csv"},
        synchrony=SynchronyConfig(by=by),
        **options,
    )


def test_ratings_tell_a_rate_that_is_stated_wrongly(rng, tmp_path):
    write_folder(tmp_path, rng, true_hz=104)
    trials, failures = read_all(tmp_path, by_labels())
    assert failures == []
    assert [len(trial.targets) for trial in trials] == list(SECONDS)
    for trial in trials:
        assert trial.eeg.rate_hz == pytest.approx(104, abs=1)
        assert trial.eeg.duration_s == pytest.approx(len(trial.targets), abs=0.05)
        assert trial.fnirs.rate_hz == 10
        (told,) = [note for note in trial.notes if "rate of eeg is" in note]
        assert "not 100: its clock runs -3" in told
        assert any("do not tell the rate of fnirs apart" in n for n in trial.notes)
        assert trial.clock == {}


def test_without_labels_such_files_are_refused(rng, tmp_path):
    write_folder(tmp_path, rng, true_hz=104)
    trials, failures = read_all(tmp_path, by_labels(by="events"))
    assert len(trials) < len(SECONDS)
    assert failures


def test_few_ratings_leave_the_stated_rate(rng, tmp_path):
    write_folder(tmp_path, rng, true_hz=100)
    for k in range(2, len(SECONDS)):
        (tmp_path / f"anna_{k}.csv").unlink()
    trials, failures = read_all(tmp_path, by_labels())
    assert (len(trials), failures) == (len(SECONDS), [])
    for trial in trials:
        assert trial.eeg.rate_hz == 100
        assert any("too few rated recordings" in note for note in trial.notes)


def test_labels_are_not_mixed_with_times_of_acquisition(rng):
    begun = datetime(2026, 1, 1, 12)

    def file(modality, later_s):
        header = Recording(
            rng.normal(size=(1, 600)), 10.0, 0.0, ("a",), quantity="voltage", unit="V"
        )
        return LabFile(
            Path(f"P1.{modality}"),
            *("P1", "x", {}),
            open=lambda path, **how: (Stream(modality, header, lambda: header),),
            acquired=begun + timedelta(seconds=later_s),
        )

    files = [file("eeg", 0), file("fnirs", 20)]
    options = LabOptions(Path(), {"x": "V01"}, False, None, 0.0, None, {}, None)
    skipped_s = [
        [span.skipped_s for span in gather(files, own).spans["x"].values()]
        for own in (options, replace(options, by_labels=True))
    ]
    assert skipped_s == [[20, 20], [0, 0]]  # files begin with their labels


def test_labels_need_files_that_begin_with_them():
    with pytest.raises(ValueError, match="files that begin with their ratings"):
        by_labels(onsets="annotations", stimuli={"V01": "a"})
