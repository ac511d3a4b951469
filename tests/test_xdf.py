import struct
import sys
from contextlib import suppress

import numpy as np
import pytest
from written import Xdf, chunk, shared

from merps.errors import DataError, InputError
from merps.readers.columns import read_columns
from merps.readers.xdf import open_xdf

pytest.importorskip("pyxdf")

EEG = [{"label": n, "type": "EEG", "unit": "microvolts"} for n in ("Cz", "Fp1", "ECG")]


def eeg_file(rng, *, rate_hz=100.0, nominal_hz=100.0, n=500, change=None, **options):
    """Three channels, and markers in two streams that say the same."""
    xdf = Xdf()
    times_s = 1000 + np.arange(n) / rate_hz
    if change is not None:
        times_s = change(times_s)
    x_tc = rng.normal(size=(n, 3))
    facts = {"name": "amp", "kind": "EEG", "n_channels": 3, "channels": EEG} | options
    xdf.header(1, rate_hz=nominal_hz, **facts)
    for number in (2, 3):
        xdf.header(
            number,
            name=f"marks{number}",
            kind="Markers",
            n_channels=1,
            rate_hz=0,
            form="string",
        )
    xdf.samples(1, times_s, x_tc)
    for number in (2, 3):
        marks_s = np.array([1000.5, 1002.25]) + 1e-5 * number
        xdf.marks(number, marks_s, ["happy", "sad"])
    return xdf, x_tc


def test_samples_units_types_and_markers(rng, tmp_path):
    xdf, x_tc = eeg_file(rng)
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    recording = stream.load()
    assert stream.modality == "eeg"
    np.testing.assert_allclose(recording.signal, 1e-6 * x_tc.T, rtol=1e-6)
    assert recording.channels == ("Cz", "Fp1", "ECG")
    assert recording.types == ("eeg", "eeg", "ecg")
    assert recording.rate_hz == pytest.approx(100)
    found = [(round(a.onset_s, 3), a.label) for a in recording.annotations]
    assert found == [(0.5, "happy"), (2.25, "sad")]
    assert stream.notes == (
        "2 markers of 'marks3' repeat those of another stream, and count once",
    )


def test_time_stamps_count_and_not_the_stated_rate(rng, tmp_path):
    xdf, _ = eeg_file(rng, nominal_hz=80.0)
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    assert stream.header.rate_hz == pytest.approx(100)
    assert "states 80 Hz, but its time stamps say 100 Hz" in " ".join(stream.notes)


def test_an_interruption_becomes_missing_samples(rng, tmp_path):
    def interrupt(times_s):
        return np.where(np.arange(len(times_s)) < 200, times_s, times_s + 1.5)

    xdf, x_tc = eeg_file(rng, change=interrupt)
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    signal = stream.load().signal
    assert signal.shape == (3, 650)
    assert np.isnan(signal[:, 200:350]).all()
    np.testing.assert_allclose(signal[:, 350:], 1e-6 * x_tc[200:].T, rtol=1e-5)


@pytest.mark.parametrize("share", [0.4, 0.7, 0.97])
def test_a_file_that_was_cut_off_is_read_to_its_last_chunk(rng, tmp_path, share):
    xdf, x_tc = eeg_file(rng)
    path = xdf.write(tmp_path / "a.xdf")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    (stream,) = open_xdf(path)
    signal = stream.load().signal
    n = signal.shape[1]
    assert n % 50 == 0
    assert share - 0.15 < n / 500 <= share + 0.05
    np.testing.assert_allclose(signal, 1e-6 * x_tc[:n].T, rtol=1e-6)
    assert "bytes" in stream.notes[0]
    assert "are lost" in stream.notes[0]


def test_every_cut_gives_a_recording_or_one_message(rng, tmp_path):
    xdf, _ = eeg_file(rng, n=120)
    path = xdf.write(tmp_path / "a.xdf")
    data = path.read_bytes()
    for n in rng.integers(0, len(data), size=40):
        path.write_bytes(data[:n])
        with suppress(DataError):  # anything else is a fault
            open_xdf(path)


def test_more_samples_than_a_chunk_has_room_for(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    chunk = bytearray(xdf.chunks[4])
    chunk[12:16] = b"\xff\xff\xff\x7f"  # two thousand million samples
    xdf.chunks[4] = bytes(chunk)
    with pytest.raises(DataError, match=r"expected samples in a stream of type EEG"):
        open_xdf(xdf.write(tmp_path / "a.xdf"))


def test_two_devices_on_one_time_axis(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    light = rng.uniform(1, 2, size=(40, 4))
    names = ["S1_D1 760", "S1_D1 850", "S2_D1 760", "S2_D1 850"]
    xdf.header(
        7,
        name="lamp",
        kind="NIRS",
        n_channels=4,
        rate_hz=10,
        channels=[{"label": n, "type": "NIRS"} for n in names],
    )
    xdf.samples(7, 1001 + np.arange(40) / 10, light)
    eeg, fnirs = open_xdf(xdf.write(tmp_path / "a.xdf"))
    assert (eeg.header.start_s, fnirs.header.start_s) == pytest.approx((0, 1))
    recording = fnirs.load()
    assert recording.kinds == ("760nm", "850nm")
    assert recording.channels == ("S1_D1", "S2_D1")
    np.testing.assert_allclose(recording.signal[1], light[:, 1::2].T, rtol=1e-6)
    assert fnirs.header.annotations == eeg.header.annotations


def test_the_widest_stream_is_taken_or_the_one_named(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    xdf.header(8, name="small", kind="EEG", n_channels=1, rate_hz=50)
    xdf.samples(8, 1000 + np.arange(100) / 50, np.ones((100, 1)))
    path = xdf.write(tmp_path / "a.xdf")
    (stream,) = open_xdf(path)
    assert stream.header.channels == ("Cz", "Fp1", "ECG")
    assert "'amp' is read as eeg, 'small' not" in stream.notes
    (stream,) = open_xdf(path, streams={"eeg": "small"})
    assert stream.header.channels == ("ch1",)
    assert "microvolts are assumed" in " ".join(stream.notes)
    with pytest.raises(
        DataError, match="expected samples of numbers in a stream 'none'"
    ):
        open_xdf(path, streams={"eeg": "none"})


def test_columns_that_only_a_table_describes(rng, tmp_path):
    xdf = Xdf()
    light = rng.uniform(1, 2, size=(40, 5))
    xdf.header(1, name="lamp", kind="NIRS", n_channels=5, rate_hz=10)
    xdf.samples(1, np.arange(40) / 10, light)
    path = xdf.write(tmp_path / "a.xdf")
    (stream,) = open_xdf(path)
    assert stream.header.kinds == ("intensity",)
    assert "describe them in a table" in " ".join(stream.notes)
    table = tmp_path / "channels.tsv"
    table.write_text(
        "name\ttype\tsource\tdetector\twavelength_nominal\n"
        "a\tNIRSCWAMPLITUDE\tS1\tD1\t760\nb\tNIRSCWAMPLITUDE\tS1\tD1\t850\n"
        "c\tNIRSCWAMPLITUDE\tS2\tD1\t760\nd\tNIRSCWAMPLITUDE\tS2\tD1\t850\n"
        "accel\tACCEL\tn/a\tn/a\tn/a\n"
    )
    (stream,) = open_xdf(path, columns=read_columns(table))
    recording = stream.load()
    assert recording.channels == ("S1_D1", "S2_D1")
    np.testing.assert_allclose(recording.signal[0], light[:, [0, 2]].T, rtol=1e-6)


def test_units_that_are_none_are_refused(rng, tmp_path):
    rows = [row | {"unit": "bananas"} for row in EEG]
    xdf, _ = eeg_file(rng, channels=rows)
    with pytest.raises(DataError, match="found unit 'bananas'"):
        open_xdf(xdf.write(tmp_path / "a.xdf"))


@pytest.mark.parametrize("content", [b"", b"XDF", b"XDF:", b"nothing of the kind" * 9])
def test_other_files_give_one_message(tmp_path, content):
    path = tmp_path / "a.xdf"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.xdf"):
        open_xdf(path)


def test_without_pyxdf_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyxdf", None)
    with pytest.raises(InputError, match=r"pip install 'merps\[xdf\]'"):
        open_xdf(tmp_path / "a.xdf")


# Real files


def test_a_finger_tapping_session():
    folder = shared("xdf-fnirs-tapping")
    (stream,) = open_xdf(folder / "sub-001_task-fingertapping_recording.xdf")
    assert stream.modality == "fnirs"
    assert stream.header.signal.shape == (1, 42, 10_079)
    assert stream.header.rate_hz == pytest.approx(9.132, abs=1e-3)  # not 7.884
    labels = [mark.label for mark in stream.header.annotations]
    assert len(labels) == 36  # two streams that differ by microseconds
    assert set(labels) == {"LEFT", "RIGHT", "NOTHING"}


def test_clock_resets():
    (stream,) = open_xdf(shared("xdf-format-cases/clock_resets.xdf"))
    signal = stream.load().signal
    assert signal.shape[0] == 8
    missing = np.isnan(signal[0])
    assert 270 < missing.sum() / stream.header.rate_hz < 275
    assert (~missing).sum() == pytest.approx(27_815, rel=1e-3)
    assert np.diff(missing.astype(int)).tolist().count(1) == 1


def test_streams_without_samples():
    with pytest.raises(DataError, match=r"'Empty data stream: .* with 0 samples"):
        open_xdf(shared("xdf-format-cases/empty_streams.xdf"))


def test_known_clock_offsets():
    (stream,) = open_xdf(shared("xdf-format-cases/minimal.xdf"))
    assert stream.header.signal.shape == (3, 9)
    assert stream.header.rate_hz == pytest.approx(10)
    assert stream.header.annotations[1].onset_s == pytest.approx(0.2)


# What labs record


def test_a_stream_of_no_stated_rate_is_read_where_it_is_named(rng, tmp_path):
    xdf, x_tc = eeg_file(rng, nominal_hz=0)
    path = xdf.write(tmp_path / "a.xdf")
    with pytest.raises(DataError, match=r"'amp' .* with 500 samples at no stated rate"):
        open_xdf(path)
    (stream,) = open_xdf(path, streams={"eeg": "amp"})
    assert stream.header.rate_hz == pytest.approx(100)
    np.testing.assert_allclose(stream.load().signal, 1e-6 * x_tc.T, rtol=1e-6)


def test_markers_are_no_signals(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    path = xdf.write(tmp_path / "a.xdf")
    with pytest.raises(DataError, match=r"samples of numbers .* 2 samples of text"):
        open_xdf(path, streams={"eeg": "marks2"})


def test_numbers_now_and_then_are_markers_and_several_at_once_are_none(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    xdf.header(8, name="codes", kind="Trigger", n_channels=1, rate_hz=0)
    xdf.samples(8, [1001.0, 1002.0], np.array([[7.0], [8.5]]))
    xdf.header(9, name="eyes", kind="Gaze", n_channels=3, rate_hz=0)
    xdf.samples(9, 1000 + np.arange(100) / 50, rng.normal(size=(100, 3)))
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    labels = [mark.label for mark in stream.header.annotations]
    assert labels == ["happy", "7", "8.5", "sad"]


def test_channels_that_share_a_name(rng, tmp_path):
    xdf, _ = eeg_file(rng, channels=[EEG[0], EEG[1], EEG[0]])
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    assert stream.header.channels == ("Cz-0", "Fp1", "Cz-1")
    assert "share a name" in " ".join(stream.notes)


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2, 3)])
def test_a_clock_that_was_never_compared_is_told(rng, tmp_path, numbers):
    xdf, _ = eeg_file(rng)
    for number in numbers:
        for time_s in np.arange(1000.0, 1005.0):
            facts = struct.pack("<Idd", number, time_s, -2.0)
            xdf.chunks.append(chunk(4, facts))
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    alone = [note for note in stream.notes if "never compared" in note]
    assert len(alone) == (numbers == (1,))
    assert all("'marks2', 'marks3'" in note for note in alone)
    onset_s = stream.header.annotations[0].onset_s
    assert onset_s == pytest.approx(2.5 if numbers == (1,) else 0.5, abs=0.001)


def test_markers_without_a_time_are_left_out(rng, tmp_path):
    xdf, _ = eeg_file(rng)
    xdf.header(8, name="late", kind="Markers", n_channels=1, rate_hz=0, form="string")
    xdf.marks(8, [1001.0, np.nan, np.inf], ["a", "b", "c"])
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    assert [m.label for m in stream.header.annotations] == ["happy", "a", "sad"]
    assert "2 markers of 'late' have no time" in stream.notes


def test_more_channels_than_a_chunk_has_room_for(rng, tmp_path):
    xdf, _ = eeg_file(rng, n_channels=99_999_999)
    with pytest.raises(DataError, match="expected samples in a stream of type EEG"):
        open_xdf(xdf.write(tmp_path / "a.xdf"))


def test_a_clock_set_anew_by_years_is_refused(rng, tmp_path):
    def leap(times_s):
        return np.where(np.arange(len(times_s)) < 200, times_s, times_s + 1e9)

    xdf, _ = eeg_file(rng, change=leap)
    with pytest.raises(DataError, match=r"a\.xdf: .* spread over 1e\+09 s.*; correct"):
        open_xdf(xdf.write(tmp_path / "a.xdf"))


def test_columns_of_light_that_say_the_same(rng, tmp_path):
    xdf = Xdf()
    rows = [{"label": "S1_D1 760", "type": "NIRS"}] * 2
    xdf.header(1, name="lamp", kind="NIRS", n_channels=2, rate_hz=10, channels=rows)
    xdf.samples(1, np.arange(40) / 10, rng.uniform(1, 2, size=(40, 2)))
    with pytest.raises(DataError, match=r"a\.xdf: expected each pair of optodes once"):
        open_xdf(xdf.write(tmp_path / "a.xdf"))


def test_more_descriptions_than_columns(rng, tmp_path):
    xdf = Xdf()
    rows = [{"label": f"S{k}_D1 760", "type": "NIRS"} for k in range(9)]
    xdf.header(1, name="lamp", kind="NIRS", n_channels=2, rate_hz=10, channels=rows)
    xdf.samples(1, np.arange(40) / 10, rng.uniform(1, 2, size=(40, 2)))
    (stream,) = open_xdf(xdf.write(tmp_path / "a.xdf"))
    assert stream.header.kinds == ("intensity",)
