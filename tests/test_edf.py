import numpy as np
import pytest
from written import write_edf_channels

from merps.errors import DataError
from merps.readers.edf import read_edf_header
from merps.readers.neuro import open_neuro, read_eeg


@pytest.fixture
def waves(rng):
    """Ten seconds at 128, 512 and 1 Hz, not 0 on average, in whole steps of EDF."""
    return {
        rate: np.rint(rng.normal(100, 50, size=10 * rate)) for rate in (128, 512, 1)
    }


def read(path):
    (stream,) = open_neuro(path)
    recording = stream.load()
    assert recording.signal.shape == stream.header.signal.shape
    return recording, " ".join(stream.notes)


@pytest.mark.parametrize("other", [("ECG", 512, "uV"), ("Temp", 1, "degC")])
def test_the_rate_is_that_of_the_eeg(tmp_path, waves, other):
    name, rate_hz, unit = other
    path = write_edf_channels(
        tmp_path / "a.edf",
        [("EEG Cz", "uV", waves[128]), (name, unit, waves[rate_hz])],
    )
    recording, notes = read(path)
    assert (recording.rate_hz, recording.channels) == (128, ("Cz",))
    np.testing.assert_allclose(1e6 * recording.signal[0], waves[128], atol=0.02)
    assert f"left out for another sampling rate: {name}" in notes
    np.testing.assert_array_equal(read_eeg(path).signal, recording.signal)


def test_channels_of_one_rate_all_stay(tmp_path, waves):
    channels = [("Cz", "uV", waves[128]), ("ECG", "uV", waves[128][::-1])]
    path = write_edf_channels(tmp_path / "a.edf", channels)
    assert read_edf_header(path).of_other_rates() == ()
    assert read(path)[0].channels == ("Cz", "ECG")


@pytest.mark.parametrize(
    ("unit", "volts"),
    [
        *(("uV", 1e-6), ("\u00b5V", 1e-6), ("UV", 1e-6), ("microV", 1e-6)),
        *(("mV", 1e-3), ("V", 1.0), ("Volt", 1.0), ("nV", 1e-9), ("", 1e-6)),
    ],
)
def test_every_unit_of_voltage_becomes_volts(tmp_path, waves, unit, volts):
    path = write_edf_channels(tmp_path / "a.edf", [("Cz", unit, waves[128])])
    recording, notes = read(path)
    expected = volts * waves[128]
    np.testing.assert_allclose(recording.signal[0], expected, atol=0.02 * volts)
    assert ("microvolts are assumed" in notes) == (unit == "")


def test_what_is_no_voltage_is_no_eeg(tmp_path, waves):
    channels = [("Cz", "uV", waves[128]), ("Thermo", "degC", waves[128])]
    recording, notes = read(write_edf_channels(tmp_path / "a.edf", channels))
    assert recording.channels == ("Cz",)
    assert "by their units, these are no voltages: Thermo (degC)" in notes


def test_a_trigger_without_a_unit_says_nothing_of_the_eeg(tmp_path, waves):
    channels = [("Cz", "uV", waves[128]), ("Event", "", waves[128])]
    recording, notes = read(write_edf_channels(tmp_path / "a.edf", channels))
    assert recording.channels == ("Cz",)
    assert "microvolts" not in notes


def test_annotations_alone_are_no_recording(tmp_path, waves):
    channels = [("EDF Annotations", "", waves[128])]
    path = write_edf_channels(tmp_path / "a.edf", channels)
    with pytest.raises(DataError, match="expected channels of EEG, found annotations"):
        open_neuro(path)


def test_more_channels_than_there_is_room_for(tmp_path, waves):
    path = write_edf_channels(tmp_path / "a.edf", [("Cz", "uV", waves[128])])
    data = bytearray(path.read_bytes())
    data[252:256] = b"9999"
    path.write_bytes(data)
    with pytest.raises(DataError, match="a header of 2560000 bytes for 9999 channels"):
        open_neuro(path)


@pytest.mark.parametrize("duration", ["0       ", "-1      "])
def test_a_rate_that_is_none(tmp_path, waves, duration):
    path = write_edf_channels(tmp_path / "a.edf", [("Cz", "uV", waves[128])])
    data = bytearray(path.read_bytes())
    data[244:252] = duration.encode()
    path.write_bytes(data)
    try:
        assert 0 < read(path)[0].rate_hz < np.inf  # MNE takes 0 s for 1 s
    except DataError as error:
        assert "expected a sampling rate" in str(error)  # noqa: PT017
        assert str(path) in str(error)  # noqa: PT017


def test_other_files_have_no_such_header(tmp_path):
    assert read_edf_header(tmp_path / "a.vhdr") is None
    assert read_edf_header(tmp_path / "absent.edf") is None
