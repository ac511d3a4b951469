"""L4 to L7: what must not help does not, and what must help does."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.stats import kstest, ttest_1samp, ttest_rel
from tables import make_samples

import merps
from merps.config import load_config
from merps.evaluation.protocol import evaluate
from merps.models.fusion import ResidualFusion
from merps.models.regression import RidgeRegressor
from merps.models.signals import SignalModel
from merps.scores import score

ALPHAS = (0.01, 1.0, 100.0, 10_000.0)
MODELS = {
    "bandpower": lambda: SignalModel(RidgeRegressor(alphas=ALPHAS, n_folds=3)),
    "fusion": lambda: ResidualFusion(
        {"bandpower": SignalModel(RidgeRegressor(ALPHAS, n_folds=3))},
        widths_s=(1.0, 15.0),  # trials last 8 s
        n_folds=3,
    ),
}


def results(samples, protocols=("people", "both"), models=MODELS):
    made = evaluate(samples, models, protocols, seed=0, jobs=1)
    return {result.protocol: result for result in made}


def with_columns(samples, columns):
    names = tuple(f"canary{k}" for k in range(columns.shape[1]))
    return replace(
        samples,
        features=np.hstack([samples.features, columns.astype(np.float32)]),
        feature_names=samples.feature_names + names,
    )


def codes(names):
    return np.unique(names, return_inverse=True)[1]


@pytest.fixture(scope="module")
def told():
    """Eight people whose features tell of their ratings, and how they score."""
    rng = np.random.default_rng(5)
    samples = make_samples(rng, n_people=8, lengths=(8,) * 12, effect=1.5)
    return samples, results(samples)


def maes(result, samples):
    return {name: metrics["mae"] for name, metrics in result.scores(samples).items()}


def test_l4_a_column_that_names_the_person_changes_no_score(told):
    """Row L4: with a person-unique constant, people and both change by < 0.1 MAE."""
    samples, plain = told
    rng = np.random.default_rng(0)
    marks = rng.normal(size=(8, 1))[codes(samples.people)]
    marked = results(with_columns(samples, marks))
    for protocol, result in plain.items():
        before, after = maes(result, samples), maes(marked[protocol], samples)
        for name in MODELS:
            assert abs(after[name] - before[name]) < 0.1, (protocol, name)


def test_l5_a_column_that_names_the_video_helps_on_known_videos_alone(told):
    """Row L5: with one column a video, people improves and both does not.

    Judged by videos, each with its own mean error: t > 4 is an improvement, and t < 2
    none: fits that are told the videos apart may learn a little better of the other
    columns, but have nothing to tell a new video by. In both, fusion
    changes by < 0.1 MAE.
    """
    samples, plain = told
    video = codes(samples.stimuli)
    marked = results(with_columns(samples, np.eye(12)[video]))

    def by_video(result, name):
        errors = np.abs(result.predictions[name] - samples.targets).mean(axis=1)
        return np.bincount(video, errors) / np.bincount(video)

    def improvement(protocol):
        pair = (by_video(r[protocol], "bandpower") for r in (plain, marked))
        return ttest_rel(*pair).statistic

    assert improvement("people") > 4
    assert improvement("both") < 2
    before, after = (maes(r["both"], samples) for r in (plain, marked))
    assert after["fusion"] == pytest.approx(before["fusion"], abs=0.1)
    fold = plain["both"].manifest[0]
    learns = np.isin(samples.people, fold["train_people"])
    learns &= np.isin(samples.stimuli, fold["train_stimuli"])
    asked = ~np.isin(samples.stimuli, fold["train_stimuli"])
    model = MODELS["bandpower"]().fit(
        with_columns(samples, np.eye(12)[video]).take(np.flatnonzero(learns))
    )
    new = [
        model.predict(with_columns(samples, ids).take(np.flatnonzero(asked)))
        for ids in (np.eye(12)[video], np.zeros((len(samples), 12)))
    ]
    np.testing.assert_array_equal(*new)


def test_l4_and_l5_would_be_seen(told):
    """Rows L4 and L5: a column that knows the ratings is found in both."""
    samples, plain = told
    known = results(with_columns(samples, samples.targets), ["both"])["both"]
    before, after = maes(plain["both"], samples), maes(known, samples)
    assert after["bandpower"] < before["bandpower"] - 5
    assert after["fusion"] < before["fusion"] - 1  # which adds what is left over


def permuted(samples, rng, n_trials):
    """The same signals; the ratings of each person's trials dealt anew."""
    by_trial = samples.targets.reshape(len(set(samples.people)), n_trials, -1, 2)
    dealt = [own[rng.permutation(n_trials)] for own in by_trial]
    return samples.with_targets(np.concatenate(dealt).reshape(-1, 2))


def judge_permutations(samples, rng, *, n, n_trials):
    """Return the CCC on new people, and the p-values of their correlations.

    One half learns and the other is tested, person by person: over folds that learn
    from each other, correlations depend on each other, and no test would hold.
    """
    people = np.unique(samples.people)
    model = SignalModel(RidgeRegressor(alphas=ALPHAS[1:], n_folds=3))
    cccs, p_values = [], []
    for _ in range(n):
        dealt = permuted(samples, rng, n_trials)
        learns = np.isin(samples.people, rng.permutation(people)[::2])
        test = dealt.take(np.flatnonzero(~learns))
        model.fit(dealt.take(np.flatnonzero(learns)))
        predicted = model.predict(replace(test, targets=None))
        cccs.append(score(predicted, test.targets)["ccc"])
        column = rng.integers(2)
        similar = []
        for person in np.unique(test.people):
            own = test.people == person
            pair = predicted[own, column], test.targets[own, column]
            similar.append(np.arctanh(np.corrcoef(*pair)[0, 1]))
        p_values.append(ttest_1samp(similar, 0).pvalue)
    return np.array(cccs), np.array(p_values)


def test_l6_permuted_labels_are_not_predicted():
    """Row L6: mean CCC of signals within 0.02 of 0; p-values uniform (KS p > 0.01)."""
    rng = np.random.default_rng(6)
    samples = make_samples(rng, n_people=16, lengths=(8,) * 8, effect=1.0)
    cccs, p_values = judge_permutations(samples, rng, n=50, n_trials=8)
    assert abs(cccs.mean()) < 0.02
    assert kstest(p_values, "uniform").pvalue > 0.01
    model = SignalModel(RidgeRegressor(alphas=(1.0,)))
    test = samples.people > "test_5"
    model.fit(samples.take(np.flatnonzero(~test)))
    test = samples.take(np.flatnonzero(test))
    assert score(model.predict(test), test.targets)["pearson"] > 0.15  # as they are


def surrogate(x, rng):
    """The same spectrum, and cross spectra, with random phases (last axis is time)."""
    spectrum = np.fft.rfft(x)
    turns = np.exp(2j * np.pi * rng.random(spectrum.shape[-1]))
    turns[0] = 1
    return np.fft.irfft(spectrum * turns, n=x.shape[-1])


def test_l7_surrogate_features_add_nothing_to_the_prior(told):
    """Row L7: on phase-randomised features, fusion = prior within 0.1 MAE."""
    samples, plain = told
    rng = np.random.default_rng(7)
    features = samples.features.copy()
    for person in np.unique(samples.people):
        own = samples.people == person
        features[own] = surrogate(features[own].T.astype(float), rng).T
    fused = {"fusion": MODELS["fusion"]}
    for protocol, result in results(
        replace(samples, features=features), models=fused
    ).items():
        found = maes(result, samples)
        assert found["fusion"] == pytest.approx(found["video_time"], abs=0.1)
        before = maes(plain[protocol], samples)
        assert before["fusion"] < before["video_time"] - 0.3


# Through files, filters and all models

N_PEOPLE, VIDEO_S = 12, (24,) * 8
QUICK = [
    "evaluate.bootstrap=0",
    "model.alphas=[10, 100, 1000, 10000]",
    "model.riemannian.n_components=6",
]


def change_signals(data, change):
    """Replace each variable of each person's signals by what `change` makes of it."""
    for folder in sorted((data / "data").iterdir()):
        person = int(folder.name.removeprefix("test_"))
        for modality in ("EEG", "fNIRS"):
            files = [
                folder / f"{modality}_{part}.mat" for part in ("baselines", "videos")
            ]
            rests, videos = (
                {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
                for path in files
            )
            change(person, modality, rests, videos)
            for path, arrays in zip(files, (rests, videos), strict=True):
                savemat(path, arrays)


def scores_of(root, data, models):
    config = load_config(None, QUICK)
    done = merps.preprocess_dataset(data, root / "store", config=config)
    assert not done.failed
    made = merps.evaluate_model(
        root / "store", models=models, protocols=["people", "both"], config=config
    )
    return made.scores


@pytest.fixture(scope="module")
def coupled(tmp_path_factory):
    """Simulated people whose signals tell of their ratings."""
    path = tmp_path_factory.mktemp("coupled") / "data"
    merps.simulate_dataset(
        path, people=N_PEOPLE, video_s=VIDEO_S, seed=3, compress=False
    )
    return path


@pytest.mark.slow
def test_l4_a_channel_that_names_the_person_changes_no_score(coupled, tmp_path):
    """Row L4, through files and filters: a tone and a level of the person's own."""
    found = {}
    for name, own in (("alike", False), ("unique", True)):
        data = shutil.copytree(coupled, tmp_path / name / "data")

        def mark(person, modality, rests, videos, own=own):
            # As strong on average: a strong channel takes the place of another.
            strength = 4 + 0.5 * (person * 7 % N_PEOPLE) if own else 7
            for arrays in (rests, videos):
                for x in arrays.values():
                    times_s = np.arange(x.shape[-1]) / 200
                    tone = 10 * strength * np.sin(2 * np.pi * 10 * times_s)
                    x[..., -1, :] = tone if modality == "EEG" else strength

        change_signals(data, mark)
        models = ["bandpower", "riemannian", "fusion"]
        found[name] = scores_of(tmp_path / name, data, models)
    for protocol, alike in found["alike"].items():
        for model, metrics in alike.items():
            unique = found["unique"][protocol][model]
            assert abs(unique["mae"] - metrics["mae"]) < 0.1, (protocol, model)


@pytest.mark.slow
def test_l6_permuted_labels_are_not_predicted_from_recordings(coupled, tmp_path):
    """Row L6 with 200 permutations, on cached features of simulated recordings."""
    merps.preprocess_dataset(coupled, tmp_path / "store")
    samples = merps.extract_samples(merps.Store.open(tmp_path / "store"))
    rng = np.random.default_rng(66)
    cccs, p_values = judge_permutations(samples, rng, n=200, n_trials=len(VIDEO_S))
    assert abs(cccs.mean()) < 0.02
    assert kstest(p_values, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_l7_surrogate_recordings_add_nothing_to_the_prior(coupled, tmp_path):
    """Row L7: signals phase-randomised over the session; fusion = prior within 0.1."""
    data = shutil.copytree(coupled, tmp_path / "data")
    rng = np.random.default_rng(77)

    def randomize(person, modality, rests, videos):
        parts = [x for key in videos for x in (rests[key], videos[key])]
        edges = np.cumsum([x.shape[-1] for x in parts])[:-1]
        whole = surrogate(np.concatenate(parts, axis=-1).astype(float), rng)
        for k, key in enumerate(videos):
            rests[key], videos[key] = np.split(whole, edges, axis=-1)[2 * k : 2 * k + 2]

    change_signals(data, randomize)
    for scores in scores_of(tmp_path, data, ["fusion"]).values():
        assert abs(scores["fusion"]["mae"] - scores["video_time"]["mae"]) < 0.1
