import h5py
import mne
import numpy as np
import pytest
from recorded import make_intensity, write_fnirs
from written import shared, write_snirf

from merps.errors import DataError
from merps.readers.snirf import open_snirf

PAIRS = [(1, 1), (2, 1), (2, 2)]


@pytest.fixture
def light(rng):
    return 1e3 * np.exp(0.1 * rng.normal(size=(50, 6)))


def read(path, **options):
    (stream,) = open_snirf(path, **options)
    return stream, stream.load()


def test_data_times_and_measurements(light, tmp_path):
    stream, recording = read(write_snirf(tmp_path / "a.snirf", light, PAIRS))
    np.testing.assert_array_equal(recording.signal[0], light[:, :3].T)
    np.testing.assert_array_equal(recording.signal[1], light[:, 3:].T)
    assert recording.kinds == ("760nm", "850nm")
    assert recording.channels == ("S1_D1", "S2_D1", "S2_D2")
    assert recording.quantity == ("intensity", "intensity")
    assert recording.rate_hz == pytest.approx(10)
    assert recording.start_s == pytest.approx(0.5)
    np.testing.assert_allclose(recording.distances_m, [0.03, 0.05, 0.03])
    np.testing.assert_allclose(recording.positions[0], [0, 0.015, 0])
    assert np.isnan(stream.header.signal).all()
    assert stream.header.signal.shape == recording.signal.shape
    assert stream.notes == ()


def test_it_agrees_with_mne(rng, tmp_path):
    path = write_fnirs(tmp_path / "a.snirf", make_intensity(rng))
    _, recording = read(path)
    raw = mne.io.read_raw_snirf(path, verbose="error")
    for kind, block in zip(recording.kinds, recording.signal, strict=True):
        picked = [f"{c} {kind.removesuffix('nm')}" for c in recording.channels]
        np.testing.assert_array_equal(block, raw.get_data(picks=picked))
    expected = mne.preprocessing.nirs.source_detector_distances(raw.info)[::2]
    np.testing.assert_allclose(recording.distances_m, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["nirs", "nirs1"])
def test_both_names_of_the_group(light, tmp_path, name):
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, group=name)
    assert read(path)[1].signal.shape == (2, 3, 50)


def test_two_recordings_in_one_file_are_refused(light, tmp_path):
    def double(root):
        root.file.copy(root, "nirs2")

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, group="nirs1", change=double)
    with pytest.raises(
        DataError, match=r"expected one recording, .* found nirs1, nirs2"
    ):
        open_snirf(path)


def test_positions_may_be_absent(light, tmp_path):
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, places=False)
    stream, recording = read(path)
    assert recording.positions is None
    assert recording.distances_m is None
    assert stream.notes == ("it has no positions of optodes",)


def test_one_detector_whose_label_and_place_are_no_lists(light, tmp_path):
    def flatten(root):
        for name, value in (("detectorLabels", "D1"), ("detectorPos3D", [0.0, 30, 0])):
            del root[f"probe/{name}"]
            root[f"probe/{name}"] = value

    pairs = [(1, 1), (2, 1), (3, 1)]
    path = write_snirf(tmp_path / "a.snirf", light, pairs, change=flatten)
    _, recording = read(path)
    assert recording.channels == ("S1_D1", "S2_D1", "S3_D1")
    assert recording.distances_m[0] == pytest.approx(0.03)


@pytest.mark.parametrize("labels", [True, False])
def test_gaps_in_optode_numbers_keep_their_names(light, tmp_path, labels):
    pairs = [(1, 2), (5, 7), (3, 7)]
    path = write_snirf(tmp_path / "a.snirf", light, pairs, labels=labels)
    _, recording = read(path)
    assert recording.channels == ("S1_D2", "S5_D7", "S3_D7")
    np.testing.assert_array_equal(recording.signal[1], light[:, 3:].T)


def test_labels_that_are_not_unique_give_way_to_numbers(light, tmp_path):
    def same(root):
        del root["probe/sourceLabels"]
        root["probe/sourceLabels"] = ["S", "S"]

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=same)
    stream, recording = read(path)
    assert recording.channels == ("S1_D1", "S2_D1", "S2_D2")
    assert "sourceLabels are not unique" in stream.notes[0]


# Units


@pytest.mark.parametrize("unit", ["m", "unknown"])
def test_distances_that_no_head_allows(light, tmp_path, unit):
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, tags=[("LengthUnit", unit)])
    with pytest.raises(DataError, match=r"length_unit") as caught:
        open_snirf(path)
    assert str(path) in str(caught.value)
    _, recording = read(path, length_unit="mm")
    assert max(recording.distances_m) == pytest.approx(0.05)


def test_the_unit_that_is_probably_meant_is_named(light, tmp_path):
    def shrink(root):  # centimeters that call themselves millimeters
        for name in ("sourcePos3D", "detectorPos3D"):
            root[f"probe/{name}"][...] /= 10

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=shrink)
    with pytest.raises(DataError, match=r"3 to 5 mm, .* probably cm"):
        open_snirf(path)
    assert max(read(path, length_unit="cm")[1].distances_m) == pytest.approx(0.05)
    # Whoever states what the file states vouches for it.
    assert max(read(path, length_unit="mm")[1].distances_m) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("unit", "rate_hz"), [("s", 10), ("ms", 10_000), ("unknown", 10)]
)
def test_units_of_time(light, tmp_path, unit, rate_hz):
    tags = [("LengthUnit", "mm"), ("TimeUnit", unit)]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, tags=tags)
    stream, recording = read(path)
    assert recording.rate_hz == pytest.approx(rate_hz)
    assert any("seconds are assumed" in n for n in stream.notes) == (unit == "unknown")


def test_an_unknown_unit_of_time_is_refused(light, tmp_path):
    tags = [("LengthUnit", "mm"), ("TimeUnit", "fortnight")]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, tags=tags)
    with pytest.raises(DataError, match=r"expected TimeUnit s, .*'fortnight'"):
        open_snirf(path)


# Times


def test_two_numbers_are_start_and_interval(light, tmp_path):
    def shorten(root):
        del root["data1/time"]
        root["data1/time"] = [2.0, 0.1]

    _, recording = read(write_snirf(tmp_path / "a.snirf", light, PAIRS, change=shorten))
    assert recording.rate_hz == pytest.approx(10)
    assert recording.start_s == pytest.approx(2)


@pytest.mark.parametrize(("n", "how"), [(47, "3 too few"), (53, "3 too many")])
def test_times_and_data_that_disagree(light, tmp_path, n, how):
    def cut(root):
        del root["data1/time"]
        root["data1/time"] = np.arange(n) / 10

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=cut)
    with pytest.raises(DataError, match=f"expected 50 times, .*, {how}"):
        open_snirf(path)


def test_an_interruption_becomes_missing_samples(light, tmp_path):
    def interrupt(root):
        root["data1/time"][30:] += 2.0

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=interrupt)
    stream, recording = read(path)
    assert recording.n_times == 70
    assert np.isnan(recording.signal[..., 30:50]).all()
    np.testing.assert_array_equal(recording.signal[0, :, 50:], light[30:, :3].T)
    assert "2 s in 1 gaps" in stream.notes[0]


def test_data_that_lie_on_their_side(light, tmp_path):
    def turn(root):
        del root["data1/dataTimeSeries"]
        root["data1/dataTimeSeries"] = light.T

    stream, recording = read(
        write_snirf(tmp_path / "a.snirf", light, PAIRS, change=turn)
    )
    np.testing.assert_array_equal(recording.signal[0], light[:, :3].T)
    assert "transposed" in stream.notes[0]


def test_auxiliary_signals_of_another_length_do_not_matter(light, tmp_path):
    def add(root):
        root["aux1/dataTimeSeries"] = np.zeros(7)
        root["aux1/time"] = np.zeros(3)

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=add)
    assert read(path)[1].n_times == 50


# Stimuli


def test_stimuli_that_come_twice_count_once(light, tmp_path):
    rows = [[1.0, 2.0, 1.0], [3.0, 0.0, 1.0]]
    stimuli = [("happy", rows), ("happy", rows), ("sad", [[2.0, 1.0, 1.0]]), ("x", [])]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, stimuli=stimuli)
    stream, recording = read(path)
    found = [(a.onset_s, a.duration_s, a.label) for a in recording.annotations]
    assert found == [(1, 2, "happy"), (2, 1, "sad"), (3, 0, "happy")]
    assert stream.notes == ("2 stimuli are in the file twice, and count once",)


# Kinds of data


def processed(label, unit=None, **more):
    for s, d in PAIRS:
        facts = {"sourceIndex": s, "detectorIndex": d, "dataType": 99999}
        yield (
            facts
            | {"dataTypeLabel": label}
            | ({"dataUnit": unit} if unit else {})
            | more
        )


@pytest.mark.parametrize(
    ("unit", "factor"), [("M", 1.0), ("uM", 1e-6), ("mmol/L", 1e-3), (None, 1.0)]
)
def test_concentrations(light, tmp_path, unit, factor):
    rows = [*processed("HbO", unit), *processed("HbR", unit)]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    stream, recording = read(path)
    assert recording.kinds == ("HbO", "HbR")
    assert recording.unit == ("mol/L", "mol/L")
    np.testing.assert_allclose(recording.signal[0], factor * light[:, :3].T)
    assert ("no unit" in " ".join(stream.notes)) == (unit is None)


def test_optical_density(light, tmp_path):
    rows = [
        *processed("dOD", wavelengthIndex=2),
        *processed("dOD", wavelengthIndex=1),
    ]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    recording = read(path)[1]
    assert recording.quantity == ("optical density",) * 2
    assert recording.kinds == ("760nm", "850nm")
    np.testing.assert_array_equal(recording.signal[1], light[:, :3].T)


def test_what_is_no_continuous_wave_is_refused(light, tmp_path):
    rows = [{"sourceIndex": 1, "detectorIndex": 1, "dataType": 101}] * 6
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    with pytest.raises(DataError, match="found type 101"):
        open_snirf(path)


def test_three_wavelengths(rng, tmp_path):
    light = rng.uniform(1, 2, size=(40, 6))
    path = write_snirf(
        tmp_path / "a.snirf", light, PAIRS[:2], wavelengths=(830.0, 780.0, 805.0)
    )
    recording = read(path)[1]
    assert recording.kinds == ("780nm", "805nm", "830nm")
    np.testing.assert_array_equal(recording.signal[0], light[:, 2:4].T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wavelengthIndex": 3}, "expected a wavelength of 1 to 2"),
        ({"wavelengthIndex": 2}, "expected 850nm of S1_D1 once"),
        ({"dataUnit": "kg", "dataType": 99999, "dataTypeLabel": "HbO"}, "'kg'"),
    ],
)
def test_measurements_that_cannot_be(light, tmp_path, change, message):
    rows = [
        {"sourceIndex": s, "detectorIndex": d, "wavelengthIndex": w, "dataType": 1}
        for w in (1, 2)
        for s, d in PAIRS
    ]
    rows[0] = rows[0] | change
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    with pytest.raises(DataError, match=message):
        open_snirf(path)


def test_too_few_measurements(light, tmp_path):
    rows = [{"sourceIndex": 1, "detectorIndex": 1, "wavelengthIndex": 1, "dataType": 1}]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    with pytest.raises(DataError, match=r"expected 1 columns of data, .* found 6"):
        open_snirf(path)


@pytest.mark.parametrize("n_bytes", [0, 100, 2000, 5000])
def test_a_file_that_is_cut_off_gives_one_message(light, tmp_path, n_bytes):
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match="cannot be read as a recording") as caught:
        read(path)
    assert "\n" not in str(caught.value)


# Real files


def test_homer3_with_both_groups():
    folder = shared("fnirs-homer3-51ch")
    stream, recording = read(folder / "subjA_run01.snirf")
    assert "12 stimuli are in the file twice, and count once" in stream.notes
    assert len(recording.annotations) == 12
    _, other = read(folder / "subjA_run01_group-nirs1.snirf")
    np.testing.assert_allclose(recording.signal, other.signal)
    assert recording.channels == other.channels
    assert sum(d < 0.01 for d in recording.distances_m) > 0  # short channels
    assert recording.rate_hz == pytest.approx(5.0003, abs=1e-4)


@pytest.mark.parametrize("name", ["015_AgePie_20211112_1.snirf", "2IA_v1.snirf"])
def test_artinis_states_millimeters_and_means_centimeters(name):
    path = shared("fnirs-artinis-8ch") / name
    with pytest.raises(DataError, match=r"3.5 to 3.5 mm, .* probably cm"):
        open_snirf(path)
    _, recording = read(path, length_unit="cm")
    np.testing.assert_allclose(recording.distances_m, 0.035, atol=1e-4)
    assert np.isfinite(recording.signal).all()


def test_centimeters_are_believed_where_they_are_right():
    _, recording = read(shared("fnirs-snirf-samples-9ch/neuro_run01.snirf"))
    assert 0.019 < min(recording.distances_m) < max(recording.distances_m) < 0.023
    assert recording.rate_hz == pytest.approx(20.033, abs=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "fnirs-homer3-51ch/subjA_run02.snirf",
        "fnirs-snirf-samples-9ch/neuro_run01.snirf",
    ],
)
def test_real_files_agree_with_mne(name):
    path = shared(name)
    _, recording = read(path)
    raw = mne.io.read_raw_snirf(path, verbose="error")
    for kind, block in zip(recording.kinds, recording.signal, strict=True):
        picked = [f"{c} {kind.removesuffix('nm')}" for c in recording.channels]
        np.testing.assert_allclose(block, raw.get_data(picks=picked))
    assert recording.rate_hz == pytest.approx(raw.info["sfreq"], rel=1e-6)


# Files of anybody


def replace_field(name, value):
    def change(root):
        if name in root:
            del root[name]
        if value is not None:
            root[name] = value

    return change


def turn_to_group(root):
    del root["data1/time"]
    root.create_group("data1/time")


def declare_much(root):
    del root["data1/dataTimeSeries"]
    shape = (10**8, 6)
    root["data1"].create_dataset("dataTimeSeries", shape=shape, dtype="f8", chunks=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turn_to_group, "data1/time: expected data, found a group"),
        (declare_much, "declares 4800000000 bytes, more than 0 stored bytes"),
        (replace_field("data1", 3), "data1: expected a group, found data"),
        (
            replace_field("metaDataTags", 3),
            "metaDataTags: expected a group, found data",
        ),
        (replace_field("data1/time", None), "expected time, found none"),
        (replace_field("data1/time", "x"), "expected real numbers, found text"),
        (replace_field("data1/time", np.full(50, np.nan)), "0 finite time stamps"),
        (replace_field("data1/time", np.ones(50)), "time stamps that do not rise"),
        (
            replace_field("data1/dataTimeSeries", np.ones((50, 6)) + 1j),
            "type complex128",
        ),
        (replace_field("probe/wavelengths", None), "wavelengths, found none in the"),
        (replace_field("probe/wavelengths", [np.nan, 850]), "nanometers, found nan"),
        (
            replace_field("data1/measurementList1/sourceIndex", np.inf),
            "expected a whole number as sourceIndex, found inf",
        ),
        (
            replace_field("data1/measurementList1/sourceIndex", 0),
            "from 1 on, found 0 and 1",
        ),
        (
            replace_field("data1/measurementList1/dataType", None),
            "whole number as dataType, found 'none'",
        ),
        (
            replace_field("probe/sourceLabels", h5py.ExternalLink("/etc/hosts", "/x")),
            "sourceLabels is a link to another file",
        ),
        (replace_field("stim1/data", np.ones((2, 3, 4))), "found shape"),
        (replace_field("stim1/data", np.ones(3) + 1j), "expected real numbers"),
    ],
)
def test_fields_that_are_none_give_one_message(light, tmp_path, change, message):
    marks = [("happy", [[1, 1, 1]])]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, stimuli=marks, change=change)
    with pytest.raises(DataError, match=message) as caught:
        open_snirf(path)
    assert str(path) in str(caught.value)
    assert "; " in str(caught.value)


@pytest.mark.parametrize("kind", ["i2", "u4", ">f8", "f4", "?"])
def test_samples_of_any_kind_of_number(light, tmp_path, kind):
    counts = np.rint(light).astype(kind)
    path = write_snirf(tmp_path / "a.snirf", counts, PAIRS)
    recording = read(path)[1]
    assert recording.signal.dtype == np.float64
    np.testing.assert_array_equal(recording.signal[0], counts[:, :3].T)


def test_numbers_in_another_file_are_not_read(light, tmp_path):
    np.arange(300.0).tofile(tmp_path / "raw")

    def change(root):
        del root["data1/dataTimeSeries"]
        root["data1"].create_dataset(
            "dataTimeSeries",
            shape=(50, 6),
            dtype="f8",
            external=[(str(tmp_path / "raw"), 0, 2400)],
        )

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=change)
    with pytest.raises(DataError, match="its data lie in another file"):
        open_snirf(path)


def test_stimuli_of_every_shape(light, tmp_path):
    def change(root):
        shapes = {
            "turned": np.array([[1.0, 2], [0.5, 0.5], [1, 1]]),
            "flat": np.array([3.0, 0.5, 1.0]),
            "timeless": np.array([[np.nan, 1, 1], [4.0, 0.5, 1]]),
            "null": h5py.Empty("f8"),
        }
        for number, (name, rows) in enumerate(shapes.items(), start=1):
            root[f"stim{number}/name"], root[f"stim{number}/data"] = name, rows

    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, change=change)
    stream, recording = read(path)
    found = [(a.onset_s, a.duration_s, a.label) for a in recording.annotations]
    assert found == [
        *((1.0, 0.5, "turned"), (2.0, 0.5, "turned")),
        *((3.0, 0.5, "flat"), (4.0, 0.5, "timeless")),
    ]
    notes = " ".join(stream.notes)
    assert "1 stimuli without a time are left out" in notes
    assert "stim1 was transposed" in notes


@pytest.mark.parametrize("unit", ["\u00b5M", "\u03bcM", "uM", "\u03bcmol/L"])
def test_micro_may_be_written_in_any_way(light, tmp_path, unit):
    rows = [*processed("HbO", dataUnit=unit), *processed("HbR", dataUnit=unit)]
    path = write_snirf(tmp_path / "a.snirf", light, PAIRS, measurements=rows)
    np.testing.assert_allclose(read(path)[1].signal[0], 1e-6 * light[:, :3].T)


def test_of_two_blocks_of_data_the_first_is_read_and_told(light, tmp_path):
    path = write_snirf(
        tmp_path / "a.snirf", light, PAIRS, change=lambda r: r.copy("data1", "data2")
    )
    stream, recording = read(path)
    assert recording.signal.shape == (2, 3, 50)
    assert "only the first of its 2 blocks of data is read" in stream.notes
