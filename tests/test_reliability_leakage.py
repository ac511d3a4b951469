"""L1 and L2: people, trials and windows that are held out leave no trace."""

import hashlib
import json
import shutil

import leakfence
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from tables import make_samples

from merps.config import load_config
from merps.models.persistence import DESCRIPTION, WEIGHTS
from merps.models.rows import crossed_groups, inner_folds
from merps.pipeline import MODELS, evaluate_model, fit_model, preprocess_dataset
from merps.pipeline.runs import METRICS
from merps.splits import MER_PS_EMOTIONS, PROTOCOLS, folds

QUICK = [
    "model.inner_folds=3",
    "model.alphas=[100]",
    "model.gains=[0.5]",
    "model.convolutional.epochs=1",
    "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
]
HELD_OUT = "test_4"


def spoil(path, rng, *, lowest=None):
    """Replace every variable of a MATLAB file by noise of the same shape."""
    arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    for name, array in arrays.items():
        if lowest is None:
            arrays[name] = 50 * rng.normal(size=array.shape)
        else:
            arrays[name] = rng.integers(lowest, 256, size=array.shape).astype(float)
    savemat(path, arrays)


@pytest.fixture(scope="module")
def spoiled(simulated, store, tmp_path_factory):
    """The store that comes out when the held-out person's data are noise."""
    root = tmp_path_factory.mktemp("spoiled")
    shutil.copytree(simulated, root / "data")
    shutil.copytree(store, root / "store")
    rng = np.random.default_rng(7)
    for path in (root / "data" / "data" / HELD_OUT).glob("*.mat"):
        spoil(path, rng)
    spoil(root / "data" / "annotations" / f"{HELD_OUT}_label.mat", rng, lowest=1)
    result = preprocess_dataset(root / "data", root / "store")
    assert (result.done, result.failed) == ((HELD_OUT,), ())
    return root / "store"


def files_of(run):
    """The model, and its scores on what it has learned from."""
    return [(run / name).read_bytes() for name in (DESCRIPTION, WEIGHTS, METRICS)]


@pytest.mark.parametrize("model", MODELS)
def test_l1_held_out_people_leave_the_model_as_it_is(store, spoiled, tmp_path, model):
    """Row L1: model file and train scores are byte-equal."""

    def fit(path, name, **options):
        config = load_config(None, QUICK)
        fit_model(path, tmp_path / name, model=model, config=config, **options)

    fit(store, "a", hold_out=[HELD_OUT])
    fit(spoiled, "b", hold_out=[HELD_OUT], jobs=1)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    # The same noise does show where this person is learned from.
    fit(store, "c")
    fit(spoiled, "d")
    assert files_of(tmp_path / "c")[1] != files_of(tmp_path / "d")[1]


def test_l1_no_fold_learns_from_the_person_it_is_tested_on(store, spoiled):
    """Row L1: in `evaluate`, what that fold has learned and its rungs are equal."""
    config = load_config(None, [*QUICK, "evaluate.bootstrap=0"])
    evaluations = [
        evaluate_model(path, models=["fusion"], protocols=["people"], config=config)
        for path in (store, spoiled)
    ]
    person = evaluations[0].samples.people == HELD_OUT
    clean, noisy = (evaluation.results[0] for evaluation in evaluations)
    assert clean.manifest == noisy.manifest
    for rung in ("constant", "video", "video_time"):
        changed = clean.predictions[rung] != noisy.predictions[rung]
        assert not changed[person].any()
        assert changed[~person].any()
    clean, noisy = (result.facts["fusion"] for result in (clean, noisy))
    assert clean[HELD_OUT] == noisy[HELD_OUT]
    assert clean["test_1"] != noisy["test_1"]


# L2: splits

PARADIGMS = {
    "people": "cross-subject",
    "both": "cross-subject",
    "videos": "cross-session",
    "within": "cross-session",
}


def audit(train, test, samples, protocol):
    """A second opinion on one fold, from another author."""
    # Windows of 4 s at 200 Hz, and 15 s of smoothing, on the time axis of a trial.
    last = (samples.seconds + 1) * 200
    reach = np.stack([last - 800 - 1500, last + 1500], axis=1)
    return leakfence.audit_split(
        train_idx=train,
        test_idx=test,
        subject=samples.people,
        session=samples.stimuli,
        sample_range=reach,
        recording=samples.trials,
        paradigm=PARADIGMS[protocol],
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("n_people", [3, 8, 24])
def test_l2_no_fold_shares_what_it_must_not(rng, protocol, n_people):
    """Row L2: 0 overlaps of people, trials and windows in every shipped protocol."""
    samples = make_samples(rng, n_people=n_people, lengths=(3,) * 15)
    emotions = MER_PS_EMOTIONS if n_people == 24 else None
    made = folds(protocol, samples.people, samples.stimuli, seed=3, emotions=emotions)
    for fold in made:
        train, test = samples.take(fold.train), samples.take(fold.test)
        assert not set(fold.train) & set(fold.test)
        assert not set(train.ids) & set(test.ids)
        if protocol in ("people", "both"):
            assert not set(train.people) & set(test.people)
        if protocol != "people":
            assert not set(train.stimuli) & set(test.stimuli)
        assert not set(samples.trials[fold.train]) & set(samples.trials[fold.test])
        opinion = audit(fold.train, fold.test, samples, protocol)
        assert opinion.ok, opinion.summary()
        assert opinion.temporal_overlap_rate == opinion.max_window_overlap == 0
        groups = crossed_groups(train)
        inner = inner_folds(groups, n_samples=len(train), n_folds=5)
        for own in inner.reshape(len(train), -1).T:  # no inner fold splits a trial
            pairs = set(zip(train.trials.tolist(), own.tolist(), strict=True))
            assert len(pairs) == len(set(train.trials))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_l2_the_second_opinion_sees_a_bad_split(rng, protocol):
    """Row L2: seconds that are dealt at random are told, so silence means something."""
    samples = make_samples(rng, lengths=(30,) * 3)
    dealt = rng.permutation(len(samples))
    opinion = audit(dealt[:400], dealt[400:], samples, protocol)
    assert not opinion.ok
    assert opinion.temporal_overlap_rate > 0.9


def test_l2_the_manifest_of_the_folds_is_in_the_result(noise_store, tmp_path):
    """Row L2: the hash of who and what was on either side stands on the run card."""
    config = load_config(None, ["evaluate.bootstrap=0"])
    evaluation = evaluate_model(noise_store, tmp_path, models=[], config=config)
    card = json.loads((tmp_path / "run.json").read_text())["folds"]
    samples = evaluation.samples
    for result in evaluation.results:
        made = folds(
            result.protocol,
            samples.people,
            samples.stimuli,
            seed=0,
            emotions=MER_PS_EMOTIONS,
        )
        sides = [
            {
                "fold": fold.name,
                **{
                    f"{side}_{what}": sorted(set(names[rows].tolist()))
                    for side, rows in (("train", fold.train), ("test", fold.test))
                    for what, names in (
                        ("people", samples.people),
                        ("stimuli", samples.stimuli),
                    )
                },
                "n_train": len(fold.train),
                "n_test": len(fold.test),
            }
            for fold in made
        ]
        text = json.dumps(sides, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert result.manifest_sha256 == digest
        assert card[result.protocol]["sha256"] == digest
        assert card[result.protocol]["folds"] == sides
