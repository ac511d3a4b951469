import logging
from pathlib import Path

import numpy as np
import pytest
from recorded import make_intensity, write_eeg, write_fnirs

from merps.datasets.arrays import EEG_CHANNELS, FNIRS_CHANNELS
from merps.datasets.simulate.backgrounds import eeg_background, fnirs_background
from merps.errors import InputError
from merps.readers.neuro import read_eeg

SHARED = Path(__file__).parents[2] / "shared" / "data"
WANTED = ("FP1", "CZ", "O2")


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def draws(background, n=20, n_times=160, rate_hz=160.0):
    return [
        background.draw(np.random.default_rng(seed), n_times, rate_hz)
        for seed in range(n)
    ]


@pytest.fixture
def eeg(rng, tmp_path):
    """Volts of a recording that says where it is, and its file."""
    signal = 1e-6 * np.arange(1000) + 1e-3 * np.arange(1, 4)[:, None]
    path = write_eeg(tmp_path / "a_raw.fif", signal, ["Cz..", "Zz", "Fp1"])
    return signal, path


# What is cut


def test_stretches_run_back_and_forth_over_the_recording(eeg):
    signal, path = eeg
    microvolts = (signal - signal.mean(axis=1, keepdims=True)) * 1e6
    starts = set()
    for x_ct in draws(eeg_background([path], WANTED), n_times=2500):
        assert x_ct.shape == (3, 2500)
        assert x_ct.dtype == np.float32
        steps = np.diff(x_ct[1])  # one microvolt a sample, up or down
        np.testing.assert_allclose(np.abs(steps[steps != 0]), 1, atol=1e-3)
        assert np.sum(steps == 0) in (2, 3)  # where it turns, a sample comes twice
        assert x_ct[1].min() == pytest.approx(microvolts[0].min(), abs=1e-2)
        assert x_ct[1].max() == pytest.approx(microvolts[0].max(), abs=1e-2)
        starts.add(round(float(x_ct[1, 0])))
    assert len(starts) > 15


def test_names_are_matched_and_the_others_go_in_order(rng, tmp_path):
    signal = rng.normal(size=(3, 400))
    path = write_eeg(tmp_path / "a_raw.fif", signal, ["Cz..", "Zz", "Fp1"])
    (x_ct,) = draws(eeg_background([path], WANTED), n=1, n_times=800)
    for row, source in zip(x_ct, (2, 0, 1), strict=True):
        whole = 1e6 * (signal[source] - signal[source].mean())
        np.testing.assert_allclose(np.sort(row), np.sort(np.tile(whole, 2)), atol=1)


def test_channels_stay_in_step(eeg):
    for x_ct in draws(eeg_background([eeg[1]], WANTED)):
        np.testing.assert_allclose(x_ct[0], x_ct[1], atol=1e-2)
        np.testing.assert_allclose(x_ct[0], x_ct[2], atol=1e-2)


def test_channels_that_come_again_are_shifted(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 4000)), ["Cz", "Fp1"])
    (x_ct,) = draws(eeg_background([path], EEG_CHANNELS), n=1, n_times=1000)
    assert x_ct.shape == (64, 1000)
    alike = np.corrcoef(x_ct)[np.triu_indices(64, 1)]
    assert np.abs(alike).max() < 0.5


def test_offsets_are_taken_away(rng, tmp_path):
    signal = 1e-5 * rng.normal(size=(3, 4000)) + 0.2
    path = write_eeg(tmp_path / "a_raw.fif", signal, ["Cz", "Fp1", "O2"])
    for x_ct in draws(eeg_background([path], WANTED), n=3, n_times=4000):
        assert np.abs(x_ct.mean(axis=1)).max() < 2
        np.testing.assert_allclose(x_ct.std(axis=1), 10, rtol=0.2)


@pytest.mark.parametrize("rate_hz", [200.0, 1000.0, 1000 / 21])
def test_another_rate_keeps_the_frequencies(tmp_path, rate_hz):
    times_s = np.arange(160 * 40) / 160
    signal = 1e-5 * np.sin(2 * np.pi * 10 * times_s)[None]
    path = write_eeg(tmp_path / "a_raw.fif", signal, ["Cz"])
    n_times = round(10 * rate_hz)
    (x_ct,) = draws(
        eeg_background([path], ("CZ",)), n=1, n_times=n_times, rate_hz=rate_hz
    )
    power = np.abs(np.fft.rfft(x_ct[0] * np.hanning(n_times)))
    peak_hz = np.fft.rfftfreq(n_times, 1 / rate_hz)[power.argmax()]
    assert peak_hz == pytest.approx(10, abs=0.11)
    assert x_ct.std() == pytest.approx(10 / np.sqrt(2), rel=0.02)


def test_several_recordings_take_turns(tmp_path):
    paths = [
        write_eeg(tmp_path / f"{k}_raw.fif", k * 1e-6 * np.tile([[1, -1]], 80), ["Cz"])
        for k in (1, 2)
    ]
    background = eeg_background(paths, ("CZ",))
    assert background.files == ("1_raw.fif", "2_raw.fif")
    sizes = {round(float(x_ct.std())) for x_ct in draws(background)}
    assert sizes == {1, 2}


def test_the_same_generator_gives_the_same_stretch(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 999)), ["Cz", "O1"])
    first, again = (draws(eeg_background([path], WANTED)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_fnirs_comes_in_micromol_with_both_kinds(rng, tmp_path):
    path = write_fnirs(tmp_path / "a.snirf", make_intensity(rng))
    background = fnirs_background([path], FNIRS_CHANNELS)
    for x_pct in draws(background, n=2, n_times=300, rate_hz=1000 / 21):
        assert x_pct.shape == (2, 51, 300)
        assert x_pct.dtype == np.float32
        assert 0.01 < x_pct.std() < 100
    x_pct = draws(background, n=1, n_times=4000, rate_hz=1000 / 21)[0]
    shift = np.corrcoef(x_pct[0, 0], x_pct[0, 3])[0, 1]
    assert shift < 0.9  # three pairs serve 51 channels, shifted each time


# Where it comes from


def test_folders_files_and_patterns(rng, tmp_path):
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    signal = rng.normal(size=(1, 99))
    for folder, name in ((deep, "c_raw.fif"), (tmp_path, "a_raw.fif")):
        write_eeg(folder / name, signal, ["Cz"])
    (tmp_path / "README.md").write_text("not looked at in a folder")

    def files(*paths):
        return eeg_background(paths, ("CZ",)).files

    assert files(tmp_path) == ("a_raw.fif", "c_raw.fif")
    assert files(deep / "c_raw.fif", tmp_path / "a_raw.fif") == (
        "c_raw.fif",
        "a_raw.fif",
    )
    assert files(str(tmp_path / "*.fif")) == ("a_raw.fif",)
    assert files(str(tmp_path / "**" / "c*.fif")) == ("c_raw.fif",)


def test_files_that_cannot_be_used_are_left_out_by_name(rng, tmp_path, caplog):
    write_eeg(tmp_path / "good_raw.fif", rng.normal(size=(1, 99)), ["Cz"])
    gap = rng.normal(size=(1, 99))
    gap[0, 5] = np.nan
    write_eeg(tmp_path / "gap_raw.fif", gap, ["Cz"])
    (tmp_path / "text.edf").write_text("nothing")
    with caplog.at_level(logging.WARNING):
        background = eeg_background([tmp_path], ("CZ",))
    assert background.files == ("good_raw.fif",)
    gap, text = (record.getMessage() for record in caplog.records)
    assert "gap_raw.fif: expected a signal without gaps, found NaN" in gap
    assert "text.edf: cannot be read as a recording" in text


def test_no_recording_at_all(tmp_path):
    (tmp_path / "text.edf").write_text("nothing")
    message = r"no background recording .* \(1 files tried\)"
    with pytest.raises(InputError, match=message):
        eeg_background([tmp_path], ("CZ",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"\(0 files tried\)"):
        fnirs_background([tmp_path / "empty"], FNIRS_CHANNELS)


@pytest.mark.parametrize("name", ["absent.edf", "absent*.edf", "absent/"])
def test_a_path_that_stands_for_nothing(tmp_path, name):
    with pytest.raises(InputError, match="no such file, folder or pattern"):
        eeg_background([str(tmp_path / name)], ("CZ",))


# Real recordings


def test_eegmmidb_goes_to_the_channels_of_its_names():
    folder = shared("eeg-eegmmidb-64ch")
    paths = sorted(folder.glob("*.edf"))[:1]
    (x_ct,) = draws(eeg_background(paths, EEG_CHANNELS), n=1, n_times=2000)
    recording = read_eeg(paths[0])
    whole = 1e6 * (recording.signal - recording.signal.mean(axis=1, keepdims=True))
    there_and_back = np.hstack([whole, whole[:, ::-1], whole]).astype(np.float32)
    by_name = {name.upper(): row for row, name in enumerate(recording.channels)}
    known = [name for name in EEG_CHANNELS if name in by_name]
    assert len(known) == 58  # all but M1, M2, PO5, PO6, CB1 and CB2
    spans = np.lib.stride_tricks.sliding_window_view(
        there_and_back[by_name["CZ"]], 2000
    )
    start = np.abs(spans - x_ct[EEG_CHANNELS.index("CZ")]).sum(axis=1).argmin()
    for name in known:
        expected = there_and_back[by_name[name], start : start + 2000]
        np.testing.assert_allclose(x_ct[EEG_CHANNELS.index(name)], expected, atol=1e-2)
    alike = np.abs(np.corrcoef(x_ct) - np.eye(64))
    assert alike.max() < 1 - 1e-6  # no channel stands for two


def test_homer3_without_the_file_that_cannot_be_read(caplog):
    folder = shared("fnirs-homer3-51ch")
    with caplog.at_level(logging.WARNING):
        background = fnirs_background([folder], FNIRS_CHANNELS)
    assert background.files == ("subjA_run01.snirf", "subjA_run02.snirf")
    (record,) = caplog.records
    assert "left out as background" in record.getMessage()
    assert "subjA_run01_group-nirs1.snirf" in record.getMessage()
    (x_pct,) = draws(background, n=1, n_times=3000, rate_hz=1000 / 21)
    assert x_pct.shape == (2, 51, 3000)
    assert np.isfinite(x_pct).all()
    assert 0.1 < x_pct.std() < 10
