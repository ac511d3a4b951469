import mne
import numpy as np
import pytest

from merps.readers.neuro import open_neuro
from merps.readers.triggers import find_triggers

RATE_HZ = 200


def make_raw(status, *, name="Status", annotations=None, more=()):
    names = ["Cz", name, *(other for other, _ in more)]
    info = mne.create_info(names, RATE_HZ, ["eeg"] + ["stim"] * (1 + len(more)))
    rows = [np.zeros(len(status)), status, *(other for _, other in more)]
    raw = mne.io.RawArray(np.array(rows, float), info, verbose="error")
    if annotations is not None:
        raw.set_annotations(mne.Annotations(*annotations))
    return raw


def pulses(*rises, n_times=2000, width=10, base=0):
    status = np.full(n_times, base)
    for at, code in rises:
        status[at : at + width] |= code
    return status


def told(raw):
    marks, notes = find_triggers(raw)
    return [(round(m.onset_s * RATE_HZ), m.label) for m in marks], notes


RISES = [(100, 1), (300, 2), (512, 255), (900, 1)]
EXPECTED = [(at, str(code)) for at, code in RISES]


def test_rises_are_events_as_mne_has_them():
    raw = make_raw(pulses(*RISES))
    found, notes = told(raw)
    assert found == EXPECTED
    expected = mne.find_events(raw, "Status", shortest_event=1, verbose="error")
    assert found == [(at, str(code)) for at, _, code in expected]
    assert notes == ("4 events are rises of the lower 16 bits of Status",)


@pytest.mark.parametrize("base", [1 << 16, (1 << 20) | (1 << 16), 1 << 22])
def test_states_of_the_amplifier_are_no_events(base):
    """BioSemi: 16 new epoch, 20 electrodes in range, 22 battery low."""
    status = pulses(*RISES, base=base)
    status[:50] &= 0xFFFF  # it comes in range a little later
    assert told(make_raw(status))[0] == EXPECTED


def test_bits_that_are_always_set_do_not_count():
    found, (note,) = told(make_raw(pulses(*RISES, base=0xFF00)))
    assert found == EXPECTED
    assert note.endswith("of Status without the bits 0xff00, which are always set")
    assert told(make_raw(np.full(2000, 7.0))) == ([], ())


def test_negative_numbers_are_sixteen_bits():
    status = pulses(*RISES).astype(np.int16)
    status[1500:1510] = -32768 + 5  # bit 15
    assert told(make_raw(status))[0] == [*EXPECTED, (1500, "32773")]


def test_a_signal_is_not_taken_for_triggers(rng):
    busy = rng.integers(0, 9, 2000)
    found, (note,) = told(make_raw(busy))
    assert found == []
    assert "it holds no triggers" in note


def test_annotations_that_say_the_same_win():
    onsets_s = [at / RATE_HZ for at, _ in RISES]
    raw = make_raw(pulses(*RISES), annotations=(onsets_s, 0.1, "S 1"))
    assert told(raw) == ([], ())
    raw = make_raw(pulses(*RISES), annotations=([3.3], 0.1, "note"))
    assert told(raw)[0] == EXPECTED


def test_the_channel_of_all_bits_is_taken():
    single = [(f"STI00{bit}", pulses((100, 5))) for bit in (1, 2)]
    raw = make_raw(pulses(*RISES), name="STI 014", more=single)
    assert told(raw)[0] == EXPECTED


def test_they_come_with_the_recording(tmp_path):
    path = tmp_path / "a_raw.fif"
    raw = make_raw(pulses(*RISES), annotations=([3.3], 0.1, "note"))
    raw.crop(tmin=0.25).save(path, verbose="error")  # its first sample is not 0
    (stream,) = open_neuro(path)
    for recording in (stream.header, stream.load()):
        assert [(a.label, round(a.onset_s, 4)) for a in recording.annotations] == [
            *(("1", 0.25), ("2", 1.25), ("255", 2.31), ("note", 3.05), ("1", 4.25))
        ]
        assert recording.channels == ("Cz",)
    assert any("lower 16 bits" in note for note in stream.notes)


def test_a_file_of_biosemi(rng, tmp_path):
    path, n_seconds, rate_hz = tmp_path / "a.bdf", 4, 100
    status = pulses((100, 7), (250, 12), n_times=400, base=1 << 20 | 1 << 16)
    status[:3] |= 1 << 22
    names, top = ("Cz", "Status"), 1 << 23
    pad = "{:<{}}".format

    def fields(width, *values):
        return "".join(pad(value, width) for value in values)

    head = pad("", 80) + pad("", 80) + fields(8, "01.01.11", "00.00.00", 256 * 3)
    head += pad("24BIT", 44) + fields(8, n_seconds, 1) + pad(2, 4) + fields(16, *names)
    head += fields(80, "", "") + fields(
        8, "uV", "Boolean", -top, -top, top - 1, top - 1
    )
    head += fields(8, *[-top] * 2, *[top - 1] * 2) + fields(80, "", "")
    head += fields(8, rate_hz, rate_hz) + fields(32, "", "")
    rows = np.stack([rng.integers(-100, 100, 400), status]).astype("<i4")
    records = rows.reshape(2, n_seconds, rate_hz).swapaxes(0, 1)
    three = records[..., None].view("u1")[..., :3]
    path.write_bytes(b"\xffBIOSEMI" + head.encode() + three.tobytes())
    (stream,) = open_neuro(path)
    found = [(round(a.onset_s * rate_hz), a.label) for a in stream.header.annotations]
    assert found == [(100, "7"), (250, "12")]
