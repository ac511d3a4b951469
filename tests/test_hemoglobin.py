"""The fNIRS chain as the options run it, from light to stored concentrations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import write_fnirs
from typer.testing import CliRunner

from merps.cli.commands import app
from merps.config import load_config
from merps.errors import InputError
from merps.pipeline.hemoglobin import mend_fnirs
from merps.pipeline.trials import preprocess_trial
from merps.preprocessing.optics import absorb, extinction, pathlength_factor
from merps.recording import Baseline, Recording, Trial
from merps.store import Store
from merps.store.layout import build_image, read_layout

SHARED = Path(__file__).parents[2] / "shared" / "data"
RATE_HZ = 10.0
NM = (760.0, 850.0)
#: Twelve channels, of which every third is short.
DISTANCE_M = (0.03, 0.03, 0.008) * 4
CHAIN = ("motion=tddr", "short_channels={}", "band_pass.low_hz=0.01")


def config(*overrides):
    return load_config(None, [f"preprocess.fnirs.{o}" for o in overrides]).preprocess


def light(signal_lct, nm=NM, rate_hz=RATE_HZ, quantity="intensity", **facts):
    n_channels = signal_lct.shape[1]
    facts.setdefault("distances_m", (DISTANCE_M * n_channels)[:n_channels])
    line = np.arange(n_channels) * 0.01
    facts.setdefault("positions", np.stack([line, 0 * line, 0 * line], axis=1))
    return Recording(
        signal_lct,
        *(rate_hz, 0.0, tuple(f"S{c}_D{c}" for c in range(n_channels))),
        *(quantity, "a.u."),
        kinds=tuple(f"{x:g}nm" for x in nm),
        **facts,
    )


def response(times_s, onsets_s, length_s=15.0):
    """A block design seen through a hemodynamic response, with largest value 1."""
    since_s = np.arange(0, 30, 0.1)
    impulse = since_s**5 * np.exp(-since_s) / 120
    fine_s = np.arange(0, times_s[-1] + 30, 0.1)
    blocks = sum((fine_s >= on) & (fine_s < on + length_s) for on in onsets_s)
    course = np.convolve(blocks, impulse)[: len(fine_s)]
    return np.interp(times_s, fine_s, course / course.max())


def plant(recording, rows, onsets_s, hbo_um=1.0, hbr_um=-0.4):
    """Add a response to light, in some channels."""
    nm = [float(kind.removesuffix("nm")) for kind in recording.kinds]
    course = response(recording.times_s, onsets_s)
    change = np.zeros((2, len(recording.channels), recording.n_times))
    change[0, rows], change[1, rows] = 1e-6 * hbo_um * course, 1e-6 * hbr_um * course
    density = absorb(
        change,
        extinction=extinction(nm, table="prahl"),
        distance_m=np.array(recording.distances_m),
        pathlength_factor=pathlength_factor(nm, age_y=25.0),
    )
    return replace(recording, signal=recording.signal * np.exp(-density))


def make_background(rng, seconds=300):
    """Heart, Mayer waves of the scalp, drift and motion, at two wavelengths."""
    times_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = rng.uniform(0, 6, size=(12, 1))
    pulse = 0.01 * np.sin(2 * np.pi * 1.1 * times_s + phase)
    mayer = 0.01 * np.sin(2 * np.pi * 0.1 * times_s)
    drift = 0.002 * rng.normal(size=(2, 12, len(times_s))).cumsum(axis=-1)
    scale = np.array([0.8, 1.0])[:, None, None]
    density = scale * (pulse + mayer) + 0.2 * drift
    density += 5e-4 * rng.normal(size=density.shape)
    density[:, 1, 1500:1503] += 0.4
    return light(1e4 * np.exp(-density))


def assert_recovered(made, rows, onsets_s, hbo_um=1.0):
    """Sign, size and timing of a planted response, and its absence elsewhere."""
    course = response(made.times_s, onsets_s)
    course -= course.mean()
    lags_s = np.arange(-8, 8.05, 0.1)
    for kind, amplitude in (("HbO", hbo_um), ("HbR", -0.4 * hbo_um)):
        x_t = 1e6 * made.signal[made.kinds.index(kind)][rows].mean(axis=0)
        x_t = x_t - x_t.mean()
        found = x_t @ course / (course @ course)
        assert found == pytest.approx(amplitude, rel=0.5), kind
        shared = [
            np.interp(made.times_s - lag, made.times_s, course) @ x_t for lag in lags_s
        ]
        best_s = lags_s[np.argmax(np.sign(amplitude) * np.array(shared))]
        assert abs(best_s) <= 1.5, (kind, best_s)


ONSETS_S = np.arange(20, 290, 40)


def test_a_planted_response_is_recovered_from_synthetic_light(rng):
    rows = [0, 1, 3, 4]
    planted = plant(make_background(rng), rows, ONSETS_S)
    made = preprocess_trial(Trial("p", "V01", fnirs=planted), config(*CHAIN))
    assert made.fnirs.kinds == ("HbO", "HbR", "HbT")
    assert set(made.fnirs.quantity) == {"concentration"}
    assert set(made.fnirs.unit) == {"mol/L"}
    assert_recovered(made.fnirs, rows, ONSETS_S)
    hbo, hbr, hbt = made.fnirs.signal
    np.testing.assert_allclose(hbt, hbo + hbr, atol=1e-9)


def test_the_commands_recover_a_planted_response(rng, tmp_path):
    background = make_background(rng)
    background = replace(background, distances_m=(0.03,) * 12)
    rows = [0, 1, 3, 4]
    folder, out = tmp_path / "data", tmp_path / "lab.yaml"
    folder.mkdir()
    light_lct = plant(background, rows, ONSETS_S).signal
    write_fnirs(folder / "P1_V1.snirf", light_lct, rate_hz=RATE_HZ)
    store = tmp_path / "store"
    words = ["preprocess", folder, "--config", out, "--out", store]
    words += ["--set", "preprocess.fnirs.motion=tddr"]
    words += ["--set", "preprocess.fnirs.band_pass.low_hz=0.01"]
    for command in (["init", folder, "--out", out], words):
        result = CliRunner().invoke(app, [str(word) for word in command])
        assert result.exit_code == 0, result.stderr
    with Store.open(store).person("P1") as stored:
        (trial,) = stored.trials()
    assert_recovered(trial.fnirs, rows, ONSETS_S)


def test_quality_tells_each_step_before_and_after_and_is_stored(rng, tmp_path):
    recording = make_background(rng)
    made = preprocess_trial(Trial("p", "V01", fnirs=recording), config(*CHAIN))
    table = made.quality["fnirs"]
    assert table.kinds == ("760nm", "850nm")
    assert made.fnirs.distances_m == tuple(d for d in DISTANCE_M if d > 0.01)
    assert table.values.shape == (2, 8, len(table.measures))
    kept = config(*CHAIN, "keep_short=true")
    made = preprocess_trial(Trial("p", "V01", fnirs=recording), kept)
    table = made.quality["fnirs"]
    assert table.values.shape == (2, 12, len(table.measures))
    column = {name: table.values[..., k] for k, name in enumerate(table.measures)}
    assert (column["coupling"] > 0.9).all()
    assert (column["coupled"] > 0.9).all()
    assert (column["peak_power"] > 0.1).all()
    assert (column["motion"][:, 1] > 2 * column["motion_after"][:, 1]).all()
    long = np.array(DISTANCE_M) > 0.01
    scalp, left = (column[name][:, long] for name in ("scalp", "scalp_after"))
    assert np.median(scalp) > 0.2
    assert (left < 0.05).all()
    path = tmp_path / "one.h5"
    path.write_bytes(b"".join(map(bytes, build_image([made]).pieces())))
    image = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    stored = read_layout(path)["V01"].restore(image, person="p", stimulus="V01")
    assert stored.quality["fnirs"].kinds == table.kinds
    np.testing.assert_array_equal(stored.quality["fnirs"].values, table.values)
    assert stored.fnirs.distances_m == recording.distances_m


def test_three_absorbances_become_the_concentrations_they_are_of(rng):
    nm = (780.0, 805.0, 830.0)
    true = 1e-6 * rng.normal(size=(2, 4, 600)).cumsum(axis=-1)
    law = {
        "extinction": extinction(nm, table="prahl"),
        "distance_m": np.full(4, 0.03),
        "pathlength_factor": pathlength_factor(nm, age_y=25.0),
    }
    absorbance = absorb(true, **law) / np.log(10) + 1.7
    given = np.concatenate([rng.normal(size=(3, 4, 600)), absorbance])
    recording = Recording(
        given,
        *(RATE_HZ, 0.0, tuple(f"ch-{c}" for c in range(4))),
        ("concentration",) * 3 + ("absorbance",) * 3,
        ("a.u.",) * 6,
        ("HbO", "HbR", "HbT", "Abs780", "Abs805", "Abs830"),
    )
    section = config().fnirs
    as_given = mend_fnirs(recording, None, section, is_joined=False)
    np.testing.assert_array_equal(as_given.recording.signal, given[:3])
    assert as_given.columns == {}
    with pytest.raises(InputError, match=r"state preprocess.fnirs.optics.distance_m"):
        mend_fnirs(
            recording, None, config("hemoglobin=computed").fnirs, is_joined=False
        )
    section = config("hemoglobin=computed", "optics.distance_m=0.03").fnirs
    computed = mend_fnirs(recording, None, section, is_joined=False)
    found = computed.recording.signal[:2]
    expected = true - true.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
    assert computed.kinds == ("Abs780", "Abs805", "Abs830")
    # One number for the way of the light scales all concentrations alike.
    section = config(
        "hemoglobin=computed", "optics={distance_m: 0.03, pathlength_factor: 6}"
    ).fnirs
    scaled = mend_fnirs(recording, None, section, is_joined=False).recording.signal
    assert (
        np.corrcoef(scaled[0].ravel(), computed.recording.signal[0].ravel())[0, 1]
        > 0.99
    )


def test_total_hemoglobin_is_the_sum_where_the_file_has_none(rng):
    x_kct = rng.normal(size=(2, 3, 100))
    recording = Recording(
        x_kct,
        *(RATE_HZ, 0.0, tuple("abc"), "concentration", "mol/L"),
        ("HbR", "HbO"),
    )
    made = mend_fnirs(recording, recording, config().fnirs, is_joined=True)
    for part in (made.recording, made.rest):
        assert part.kinds == ("HbO", "HbR", "HbT")
        assert part.unit == ("mol/L",) * 3
        np.testing.assert_array_equal(
            part.signal, [x_kct[1], x_kct[0], x_kct.sum(axis=0)]
        )
    with pytest.raises(InputError, match="holds no light, only HbR, HbO; take what is"):
        mend_fnirs(recording, None, config("hemoglobin=computed").fnirs, is_joined=True)


@pytest.mark.parametrize("motion", ["tddr", "spline"])
def test_given_concentrations_are_mended_likewise(rng, motion):
    x_kct = 1e-2 * rng.normal(size=(3, 4, 900)).cumsum(axis=-1)
    x_kct[:, 2, 400:] += 3
    recording = Recording(
        x_kct,
        *(RATE_HZ, 0.0, tuple("abcd"), ("concentration",) * 3, ("a.u.",) * 3),
        ("HbO", "HbR", "HbT"),
    )
    mended = mend_fnirs(
        recording, None, config(f"motion={motion}").fnirs, is_joined=False
    )
    before, after = (
        x[:, 2, 450:500].mean() - x[:, 2, 300:350].mean()
        for x in (recording.signal, mended.recording.signal)
    )
    assert before > 2.5
    assert abs(after) < 0.5
    assert (mended.columns["motion"][:, 2] > mended.columns["motion_after"][:, 2]).all()
    gone = replace(
        recording, signal=np.where(rng.random(x_kct.shape) < 0.1, np.nan, x_kct)
    )
    again = mend_fnirs(gone, None, config(f"motion={motion}").fnirs, is_joined=False)
    np.testing.assert_array_equal(
        np.isnan(again.recording.signal), np.isnan(gone.signal)
    )


def test_rest_and_trial_have_one_reference(rng):
    whole = make_background(rng, seconds=60)
    rest = whole.with_signal(whole.signal[..., :100], start_s=-10.0)
    trial = whole.with_signal(whole.signal[..., 100:])
    section = config("short_channels={}").fnirs
    expected = mend_fnirs(whole, None, section, is_joined=False).recording.signal
    for is_joined in (True, False):
        parts = mend_fnirs(trial, rest, section, is_joined=is_joined)
        joined = np.concatenate([parts.rest.signal, parts.recording.signal], axis=-1)
        np.testing.assert_allclose(joined, expected, rtol=1e-9, atol=1e-15)
        assert parts.rest.start_s == -10
    made = preprocess_trial(
        Trial("p", "V01", fnirs=trial, baseline=Baseline(fnirs=rest)), config()
    )
    assert made.fnirs.start_s == -10


@pytest.mark.parametrize("quantity", ["intensity", "absorbance"])
def test_causal_concentrations_never_look_ahead(rng, quantity):
    signal = 1 + 0.1 * rng.random((2, 4, 600))
    later = signal.copy()
    later[..., 300:] += rng.normal(size=(2, 4, 300)) ** 2
    options = load_config("causal").preprocess
    one, other = (
        preprocess_trial(Trial("p", "V01", fnirs=light(x, quantity=quantity)), options)
        for x in (signal, later)
    )
    np.testing.assert_array_equal(
        one.fnirs.signal[..., :300], other.fnirs.signal[..., :300]
    )
    assert np.ptp(one.fnirs.signal) > 0
    # The reference is the first sample, not the mean; nothing else changes.
    section = config().fnirs
    recording = light(signal, quantity=quantity)
    since, around = (
        mend_fnirs(recording, None, section, is_joined=False, phase=phase).recording
        for phase in ("causal", "zero")
    )
    shift = since.signal - around.signal
    np.testing.assert_allclose(np.ptp(shift, axis=-1), 0, atol=1e-15)
    np.testing.assert_allclose(since.signal[..., 0], 0, atol=1e-15)


def test_dark_samples_unknown_distances_and_slow_devices_are_told(rng):
    recording = make_background(rng, seconds=60)
    recording.signal[0, 3, 40:50] = 0
    distances = (*recording.distances_m[:-1], float("nan"))
    recording = replace(recording, distances_m=distances, kinds=("690nm", "860nm"))
    made = preprocess_trial(Trial("p", "V01", fnirs=recording), config())
    assert made.notes == (
        "10 samples of fNIRS without light are missing",
        "pathlength factors outside 690 to 832 nm are extrapolated",
        "1 fNIRS channels without a distance are missing",
        "3 of 12 fNIRS channels are short and see the scalp alone; with "
        "preprocess.fnirs.short_channels={} that is taken out of the others",
    )
    missing = np.isnan(made.fnirs.signal)
    assert missing[:, 11].all()
    assert np.flatnonzero(missing[0, 3]).tolist() == list(range(40, 50))
    assert missing[:, :11].sum() == 30
    slow = light(recording.signal[..., ::4], rate_hz=2.5)
    table = preprocess_trial(Trial("p", "V01", fnirs=slow), config()).quality["fnirs"]
    assert "coupling" not in table.measures
    lower = config("coupling={low_hz: 0.5, high_hz: 0.9}")
    table = preprocess_trial(Trial("p", "V01", fnirs=slow), lower).quality["fnirs"]
    assert "coupling" in table.measures
    lower = config("coupling={low_hz: 0.5, high_hz: 1.0}")
    table = preprocess_trial(Trial("p", "V01", fnirs=slow), lower).quality["fnirs"]
    assert "coupling" not in table.measures


def test_channels_off_the_scalp_and_flat_ones_are_told(rng):
    recording = make_background(rng, seconds=60)
    recording.signal[1, 4] = 1e4 * np.exp(0.02 * rng.normal(size=recording.n_times))
    recording.signal[0, 6] = 1e4
    made = preprocess_trial(Trial("p", "V01", fnirs=recording), config())
    assert "2 of 12 fNIRS channels are poorly coupled to the scalp: S4_D4, S6_D6" in (
        made.notes
    )
    assert "1 of 12 fNIRS channels are flat: S6_D6" in made.notes
    assert any(
        note.startswith("4 of 12 fNIRS channels are short") for note in made.notes
    )
    settled = make_background(rng, seconds=60)
    settled.signal[..., 0] *= 2.0
    made = preprocess_trial(Trial("p", "V01", fnirs=settled), config("band_pass=null"))
    (told,) = [note for note in made.notes if "first sample" in note]
    assert told.endswith("device that settles: taken from the one beside it")
    np.testing.assert_array_equal(made.fnirs.signal[..., 0], made.fnirs.signal[..., 1])


def test_recordings_without_short_channels_are_told(rng):
    recording = make_background(rng, seconds=30)
    for changes in ({"positions": None}, {"distances_m": (0.03,) * 12}):
        other = replace(recording, **changes)
        mended = mend_fnirs(
            other, None, config("short_channels={}").fnirs, is_joined=False
        )
        plain = mend_fnirs(other, None, config().fnirs, is_joined=False)
        told = "no fNIRS channels of known place are short beside longer ones"
        assert told in mended.notes
        np.testing.assert_array_equal(mended.recording.signal, plain.recording.signal)
        assert np.isnan(mended.columns["scalp"]).all()


def test_what_cannot_be_computed_is_refused(rng):
    recording = make_background(rng, seconds=30)

    def run(*overrides, **changes):
        trial = Trial("p", "V01", fnirs=replace(recording, **changes))
        return preprocess_trial(trial, config(*overrides))

    with pytest.raises(InputError, match="asks for HbX; choose from 760nm, 850nm, HbO"):
        run("kinds=[HbO, HbX]")
    with pytest.raises(
        InputError, match=r"asks for HbO, HbR, HbT; choose from 760nm, 850nm$"
    ):
        run(quantity="voltage")
    with pytest.raises(InputError, match="'red' names no wavelength"):
        run(kinds=("red", "850nm"))
    with pytest.raises(InputError, match="2 pigments cannot be told apart by 1"):
        mend_fnirs(
            light(recording.signal[:1], nm=(760.0,)),
            None,
            config().fnirs,
            is_joined=False,
        )
    kept = run("kinds=[850nm]", "band_pass=null")
    np.testing.assert_allclose(kept.fnirs.signal[0], recording.signal[1], rtol=1e-6)


# Recordings


def recorded(name):
    """Read a recording of light through MNE."""
    import mne

    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the recording {name}")
    raw = mne.io.read_raw_snirf(path, preload=True, verbose="error")
    pairs = list(dict.fromkeys(n.split()[0] for n in raw.ch_names))
    nm = sorted({channel["loc"][9] for channel in raw.info["chs"]})
    rows = [[raw.ch_names.index(f"{pair} {x:.0f}") for pair in pairs] for x in nm]
    first = [raw.info["chs"][row]["loc"] for row in rows[0]]
    return Recording(
        raw.get_data()[np.array(rows)],
        *(raw.info["sfreq"], 0.0, tuple(pairs), "intensity", "V"),
        kinds=tuple(f"{x:.0f}nm" for x in nm),
        positions=np.array([at[:3] for at in first]),
        distances_m=tuple(float(np.linalg.norm(at[3:6] - at[6:9])) for at in first),
    )


@pytest.mark.filterwarnings("ignore")  # of a reader of vendors' files
@pytest.mark.parametrize(
    ("name", "coupled", "seemingly"),
    [  # one sample that is far off makes wavelengths agree, where they do not
        ("fnirs-homer3-51ch/subjA_run01.snirf", 0.53, 0.88),
        ("fnirs-homer3-51ch/subjA_run02.snirf", 0.57, 0.86),
        ("fnirs-artinis-8ch/015_AgePie_20211112_1.snirf", 1.0, 1.0),
    ],
)
def test_the_heart_is_seen_in_recordings(name, coupled, seemingly):
    recording = recorded(name)
    trial = Trial("p", "V01", fnirs=recording)
    made = preprocess_trial(trial, config("optics.max_end_step=null"))
    table = made.quality["fnirs"]
    coupling = table.values[0, :, table.measures.index("coupling")]
    assert (coupling > 0.8).mean() == pytest.approx(seemingly, abs=0.01)
    made = preprocess_trial(trial, config())
    assert made.fnirs.rate_hz == 10
    duration_s = made.fnirs.n_times / 10
    assert duration_s == pytest.approx(recording.duration_s, abs=0.2)
    table = made.quality["fnirs"]
    coupling = table.values[0, :, table.measures.index("coupling")]
    assert (coupling > 0.8).mean() == pytest.approx(coupled, abs=0.01)
    # A peak where hearts beat stands out of optical density.
    density = -np.log(recording.signal / recording.signal.mean(axis=-1, keepdims=True))
    taper = np.hanning(density.shape[-1])
    power = np.median(np.abs(np.fft.rfft(density * taper, axis=-1)) ** 2, axis=(0, 1))
    hertz = np.fft.rfftfreq(density.shape[-1], 1 / recording.rate_hz)
    beat = power[(hertz > 0.8) & (hertz < 1.5)].max()
    assert beat > 20 * np.median(power[(hertz > 1.5) & (hertz < 2.4)])


@pytest.mark.filterwarnings("ignore")  # of a reader of vendors' files
def test_a_planted_response_is_recovered_from_a_recording():
    background = recorded("fnirs-homer3-51ch/subjA_run01.snirf")
    onsets_s = np.arange(25, 380, 43)
    long = np.flatnonzero(np.array(background.distances_m) > 0.02)
    rows = long[::3]
    planted = plant(background, rows, onsets_s, hbo_um=2.0, hbr_um=-0.8)
    chain = config(*CHAIN, "keep_short=true")
    made = preprocess_trial(Trial("p", "V01", fnirs=planted), chain)
    assert_recovered(made.fnirs, rows, onsets_s, hbo_um=2.0)
    elsewhere = np.setdiff1d(long, rows)
    course = response(made.fnirs.times_s, onsets_s)
    course -= course.mean()
    for kind in (0, 1):
        shares = 1e6 * made.fnirs.signal[kind] @ course / (course @ course)
        assert abs(np.mean(shares[elsewhere])) < 0.25 * abs(np.mean(shares[rows]))
