"""L8, L9 and A1: what is known when, and which second belongs to which."""

import shutil
from dataclasses import replace

import broken
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from stored import make_store

import merps
from merps.config import load_config
from merps.models.lags import LagSearch, refine_lag
from merps.models.persistence import load_model
from merps.models.signals import SignalModel
from merps.pipeline.blocks import attach_blocks, needed_blocks
from merps.pipeline.features import align_features, extract_samples
from merps.recording import Recording, Trial
from merps.scores import score
from merps.store import Store
from merps.windows import WindowGrid, gather_windows

MODELS = ("bandpower", "fusion", "riemannian", "convolutional")
QUICK = [
    "model.inner_folds=3",
    "model.alphas=[10]",
    "model.riemannian.inputs=[eeg, eeg_delays, fnirs]",
    "model.riemannian.n_components=3",
    "model.convolutional.epochs=1",
    "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
]

# L8: causality

#: The first second that is changed.
LATER = 6


@pytest.fixture(scope="module")
def causal_store(simulated, tmp_path_factory):
    path = tmp_path_factory.mktemp("causal") / "store"
    merps.preprocess_dataset(simulated, path, config=load_config("causal"))
    return path


@pytest.fixture(scope="module")
def viewer(tmp_path_factory):
    """Somebody new, whose EEG comes at 1000 Hz."""
    path = tmp_path_factory.mktemp("viewer") / "data"
    options = {"people": 1, "video_s": (9, 10), "seed": 6, "eeg_rate_hz": 1000}
    merps.simulate_dataset(path, layout="leaderboard", **options)
    return path


def change_later(data, path, what, *, jump=False):
    """Copy recordings; from a second on, everything is other than it was."""
    rng = np.random.default_rng(8)
    shutil.copytree(data, path)
    for file, rate_hz in (("EEG_videos", 1000), ("fNIRS_videos", 1000 / 21)):
        (name,) = path.glob(f"data/*/{file}.mat")
        arrays = {k: v for k, v in loadmat(name).items() if not k.startswith("__")}
        for x in arrays.values():
            first = int(np.ceil(LATER * rate_hz - 1e-9))
            noise = 100 * rng.normal(size=x[..., first:].shape)
            x[..., first:] = {
                "noise": noise,
                "missing": np.nan,
                "kept": x[..., first:],
            }[what]
            if jump:  # over the border to the rest, which is then kept apart
                x += 1e4
        savemat(name, arrays)
    return path


def predicted(run, data, folder):
    """Return lines and numbers by sample, from the files on."""
    merps.predict_dataset(run, data, folder / "p.csv", store=folder / "store")
    lines = (folder / "p.csv").read_text().splitlines()[1:]
    model, card = load_model(run)
    config = merps.Config.model_validate(card["config"])
    store = Store.open(folder / "store")
    samples = extract_samples(store, config=config)
    samples = align_features(samples, getattr(model, "feature_names_", ()))
    samples = attach_blocks(samples, store, needed_blocks(model), config=config)
    return samples.seconds, np.array(lines), model.predict(samples), samples.features


LOOKAHEAD = tuple(f"{w}.lookahead_s=2" for w in ("windows", "fnirs_windows"))


@pytest.mark.parametrize(
    ("model", "preset", "options", "known_s", "jump"),
    [
        *((model, "causal", (), LATER, False) for model in MODELS),
        ("bandpower", "causal", LOOKAHEAD, LATER - 2, True),
        # Zero-phase filters tell of it from the first second on.
        ("bandpower", None, (), 0, False),
    ],
)
def test_l8_what_comes_later_changes_no_byte(
    store, causal_store, viewer, tmp_path, model, preset, options, known_s, jump
):
    """Row L8: samples after t are changed, and outputs up to t are byte-equal."""
    config = load_config(preset, [*QUICK, *options])
    merps.fit_model(
        store if preset is None else causal_store,
        tmp_path / "run",
        model=model,
        config=config,
    )
    found = {}
    for what in ("kept", "noise", "missing")[: 3 if model == "bandpower" else 2]:
        folder = tmp_path / what
        data = change_later(viewer, folder / "data", what, jump=jump)
        found[what] = predicted(tmp_path / "run", data, folder)
    seconds, lines, numbers, features = found.pop("kept")
    known, soon = seconds < known_s, seconds == known_s
    for what, (_, other_lines, other_numbers, other_features) in found.items():
        assert (lines[known] == other_lines[known]).all()
        assert features[known].tobytes() == other_features[known].tobytes()
        if what == "noise":  # with as many rows to work on, not even rounding differs
            assert numbers[known].tobytes() == other_numbers[known].tobytes()
        if model == "fusion":  # whose gain may be zero
            numbers, other_numbers = features, other_features
        assert (numbers[soon] != other_numbers[soon]).any()


# L9: a planted effect

LAG_S, N_CHANNELS, RATE_HZ = 2.3, 6, 50.0


def lagged_trial(rng, person, stimulus, seconds=60):
    """EEG whose power follows a course, and ratings that follow it later."""
    times_s = np.arange(-10, seconds + 10, 1 / RATE_HZ)
    course = sum(
        np.sin(2 * np.pi * (times_s / period_s + rng.random()))
        for period_s in (11, 17, 29)
    )
    course /= course.std()
    at = np.arange(0, seconds, 1 / RATE_HZ)
    strength = np.exp(0.5 * np.interp(at + LAG_S, times_s, course))
    rated = np.interp(np.arange(seconds) + 0.5, times_s, course)
    told = 128 + 30 * rated[:, None] + 12 * rng.normal(size=(seconds, 2))
    eeg = Recording(
        (strength * rng.normal(size=(N_CHANNELS, len(at)))).astype(np.float32),
        rate_hz=RATE_HZ,
        start_s=0.0,
        channels=tuple(f"E{c}" for c in range(N_CHANNELS)),
        quantity="voltage",
        unit="uV",
    )
    trial = Trial(person, stimulus, eeg=eeg, targets=np.clip(np.rint(told), 1, 255))
    return trial, 128 + 30 * rated


def test_l9_a_planted_lag_is_recovered(tmp_path):
    """Row L9: CCC >= 0.8 of the ceiling, and the lag within 0.25 s."""
    rng = np.random.default_rng(9)
    trials, ceilings = {}, []
    for p in range(6):
        made = [lagged_trial(rng, f"test_{p}", f"V0{k}") for k in range(3)]
        trials[f"test_{p}"] = [trial for trial, _ in made]
        ceilings += [truth for _, truth in made]
    config = load_config(
        None,
        [
            "features.bands={all: [4, 24]}",
            "features.reference=none",
            "features.width_s=3",
            "windows.window_s=1",
        ],
    )
    samples = extract_samples(make_store(tmp_path, trials), config=config)
    ceiling = np.repeat(np.concatenate(ceilings)[:, None], 2, axis=1)
    new = samples.people >= "test_4"
    search = LagSearch(SignalModel(), tuple(range(6)), (0,))
    search.fit(samples.take(np.flatnonzero(~new)))
    found_s = refine_lag(search.eeg_lags_s, search.eeg_curve_.mean(axis=1))
    assert found_s == pytest.approx(LAG_S, abs=0.25)
    test = samples.take(np.flatnonzero(new))
    reached = score(search.predict(replace(test, targets=None)), test.targets)["ccc"]
    assert reached >= 0.8 * score(ceiling[new], test.targets)["ccc"]


# A1: label and time grid

SECONDS = 170


def write_impulses(root, rate_hz, *, eeg_s, fnirs_s, every):
    """One recording with an impulse in the middle of seconds, as high as its label."""
    rng = np.random.default_rng(1)
    labels = rng.integers(1, 256, size=(2, SECONDS)).astype(np.float64)
    eeg = np.zeros((64, eeg_s * rate_hz), np.float32)
    fnirs = np.zeros((6, 51, broken.fnirs_samples(fnirs_s)))
    for second in range(min(eeg_s, SECONDS)):
        eeg[:, round((second + 0.5) * rate_hz)] = labels[0, second]
    for second in range(3, min(fnirs_s, SECONDS), every):
        fnirs[..., round((second + 0.5) * 1000 / 21)] = labels[1, second]
    folder = root / "data" / "test_1"
    folder.mkdir(parents=True)
    savemat(folder / "EEG_videos.mat", {"video_1": eeg})
    savemat(folder / "fNIRS_videos.mat", {"video_1": fnirs})
    (root / "annotations").mkdir()
    savemat(root / "annotations" / "test_1_label.mat", {"video_1": labels})
    return labels


@pytest.mark.parametrize(
    ("rate_hz", "longer"), [(200, 0), (200, 1), (200, -1), (1000, 0), (1000, -1)]
)
def test_a1_window_i_is_that_of_label_i(tmp_path, rate_hz, longer):
    """Row A1: at 200, 1000 and 1000/21 Hz, +-1 s, error 0 and no drift over 170 s."""
    every, seconds = 8, SECONDS + longer
    labels = write_impulses(
        tmp_path / "data", rate_hz, eeg_s=seconds, fnirs_s=SECONDS - longer, every=every
    )
    config = load_config(
        None, [f"preprocess.{m}.band_pass=null" for m in ("eeg", "fnirs")]
    )
    merps.preprocess_dataset(tmp_path / "data", tmp_path / "store", config=config)
    store = Store.open(tmp_path / "store")
    with store.person("test_1") as stored:
        (trial,) = stored.trials()
        grid = WindowGrid(window_s=1.0, step_s=1.0, lag_s=0.0, lookahead_s=0.0)
        eeg, fnirs = (
            gather_windows(recording, grid, n_windows=len(trial.targets))
            for recording in (trial.eeg, trial.fnirs)
        )
    both = min(seconds, SECONDS, len(trial.targets))
    np.testing.assert_array_equal(trial.targets[:both], labels.T[:both])
    x_wt = eeg[:both, 0]
    assert (x_wt.argmax(axis=1) == 100).all()  # half a second, in every window
    np.testing.assert_allclose(
        x_wt.max(axis=1) / x_wt[0].max(), *[labels[0, :both] / labels[0, 0]], rtol=0.05
    )
    times_s = np.arange(200) / 200
    late_s = (x_wt**2 @ times_s) / (x_wt**2).sum(axis=1) - 0.5
    assert np.abs(late_s).max() < 1e-3
    n_fnirs = min(SECONDS - longer, SECONDS, len(trial.targets))
    for second in range(3, n_fnirs - 1, every):
        near = np.abs(fnirs[second - 1 : second + 2, 0, 0])
        assert np.unravel_index(near.argmax(), near.shape) == (1, 5)
