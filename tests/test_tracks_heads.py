"""Heads of the sibling tracks on features that carry what is planted in them."""

import numpy as np
import pytest
from tracked import ew_score, make_clips, write_toy_wheels

from merps.errors import DataError, InputError
from merps.models.persistence import load_model, save_model
from merps.tracks.heads import ClipModel
from merps.tracks.metrics import score_classes
from merps.tracks.tables import EMOTIONS
from merps.tracks.verbs import MODELS
from merps.tracks.wheels import read_wheels

QUICK = {
    "hidden": 16,
    "epochs": 8,
    "batch_size": 16,
    "dropout": 0.0,
    "learning_rate": 0.03,
}
BRIEF = {**QUICK, "epochs": 2}
CARD = {"terms": "made up"}


def make_cross(rng, n=60, *, missing=0.0, steps=1):
    """Two streams of which the first knows the class; groups of three rows."""
    labels = [EMOTIONS[k] for k in rng.integers(6, size=n)]
    codes = np.eye(6)[[EMOTIONS.index(label) for label in labels]]
    lengths = rng.integers(1, steps + 1, size=n)
    face = [
        5 * np.tile(code, (length, 1)) + rng.normal(size=(length, 6))
        for code, length in zip(codes, lengths, strict=True)
    ]
    voice = [rng.normal(size=(1, 4)) for _ in range(n)]
    for row in np.flatnonzero(rng.random(n) < missing):
        face[row] = None
    groups = [f"g{k // 3}" for k in range(n)]
    return make_clips({"face": face, "voice": voice}, labels, groups=groups)


def make_prefer(rng, n=60, *, ties=0.0):
    """The better text lies near the clip."""
    clip = rng.normal(size=(n, 5))
    near, far = clip + 0.3 * rng.normal(size=(n, 5)), rng.normal(size=(n, 5))
    first = rng.random(n) < 0.5
    a1 = np.where(first[:, None], near, far)
    a2 = np.where(first[:, None], far, near)
    labels = ["a1" if one else "a2" for one in first]
    labels = ["same" if rng.random() < ties else label for label in labels]
    pairs = {"a1": list(a1), "a2": list(a2)}
    return make_clips({"face": list(clip)}, labels, pairs=pairs)


def make_openset(rng, n=60):
    kinds = rng.integers(3, size=n)
    labels = [(("gladly",), ("glumly",), ("glad", "odd"))[kind] for kind in kinds]
    features = list(5 * np.eye(3)[kinds] + rng.normal(size=(n, 3)))
    return make_clips({"face": features}, labels)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    pytest.importorskip("openpyxl")
    return read_wheels(write_toy_wheels(tmp_path_factory.mktemp("wheels")))


def waf(clips, answers):
    found = score_classes(
        clips.labels, answers, groups=clips.groups, n_resamples=1, seed=0
    )
    return found.metrics["waf"].value


def test_cross_finds_the_stream_that_knows(rng):
    clips, new = make_cross(rng), make_cross(rng, 60)
    model = ClipModel(task="cross", **QUICK)
    found = model.fit(clips)
    assert waf(clips, found.answers) > 0.7
    assert waf(new, model.predict(new)) > 0.7
    assert model.n_nets_ == 6
    for k in range(6):  # no group is trained on and tested
        tested = {g for g, n in zip(clips.groups, found.folds, strict=True) if n == k}
        others = {g for g, n in zip(clips.groups, found.folds, strict=True) if n != k}
        assert not tested & others


@pytest.mark.parametrize("task", ["cross", "fg"])
def test_neither_order_nor_company_of_rows_changes_an_answer(rng, wheels, task):
    if task == "cross":
        clips, new = make_cross(rng, steps=3), make_cross(rng, 40, steps=3)
    else:
        clips, new = make_openset(rng), make_openset(rng, 40)
    order, back = rng.permutation(len(clips)), rng.permutation(len(new))
    first, second = (ClipModel(task=task, **BRIEF) for _ in range(2))
    found = first.fit(clips, wheels=wheels)
    again = second.fit(clips.take(order), wheels=wheels)
    np.testing.assert_array_equal(again.outputs, found.outputs[order])
    assert again.answers == [found.answers[row] for row in order]
    assert second.threshold_ == first.threshold_
    np.testing.assert_array_equal(
        second.decision_function(new.take(back)), first.decision_function(new)[back]
    )


@pytest.mark.slow
def test_steps_in_time_are_pooled_and_padding_does_not_count(rng):
    clips = make_cross(rng, steps=4)
    model = ClipModel(task="cross", **QUICK)
    assert waf(clips, model.fit(clips).answers) > 0.7
    longest = max(
        clips.blocks["face"].source.gather(np.array([k])).shape[2]
        for k in range(len(clips))
    )
    assert longest > 1
    one = model.decision_function(clips.take([0]))
    np.testing.assert_allclose(model.decision_function(clips)[:1], one, atol=1e-5)


def test_a_missing_stream_is_borne_and_nothing_at_all_is_the_prior(rng):
    clips = make_cross(rng, missing=0.3)
    model = ClipModel(task="cross", **BRIEF)
    model.fit(clips)
    none = make_clips({"face": [None], "voice": [None]}, ["happy"])
    shares = [clips.labels.count(label) for label in EMOTIONS]
    assert model.predict(none) == [EMOTIONS[int(np.argmax(shares))]]
    np.testing.assert_array_equal(model.decision_function(none)[0], model.prior_)


@pytest.mark.slow
def test_class_weights_let_a_rare_class_count(rng):
    clips = make_cross(rng, 240)
    rows = [
        row
        for row, label in enumerate(clips.labels)
        if label in ("happy", "sad") and (label == "happy" or row % 6 == 0)
    ]
    noisy = clips.take(rows)
    noisy.blocks["face"].source._arrays = [
        array + rng.normal(0, 3, array.shape).astype(np.float32)
        for array in noisy.blocks["face"].source._arrays
    ]
    said = [
        ClipModel(task="cross", class_weights=weights, **QUICK).fit(noisy).answers
        for weights in (False, True)
    ]
    assert said[0].count("sad") < said[1].count("sad")


def test_exchanging_the_texts_exchanges_every_answer(rng):
    clips, new = make_prefer(rng), make_prefer(rng, 60)
    model = ClipModel(task="prefer", **QUICK)
    model.fit(clips)
    blocks = dict(new.blocks) | {"a1": new.blocks["a2"], "a2": new.blocks["a1"]}
    swapped = type(new)(blocks, new.keys, new.groups, new.labels)
    outputs = model.decision_function(new)
    assert (outputs != 0).all()
    np.testing.assert_array_equal(model.decision_function(swapped), -outputs)
    flip = {"a1": "a2", "a2": "a1"}
    said = model.predict(new)
    assert model.predict(swapped) == [flip[answer] for answer in said]
    assert np.mean([a == b for a, b in zip(said, new.labels, strict=True)]) > 0.7


def test_texts_that_are_equal_or_missing_are_the_same(rng):
    model = ClipModel(task="prefer", **BRIEF)
    model.fit(make_prefer(rng))
    text = rng.normal(size=5)
    odd = make_clips(
        {"face": [text, text]},
        ["a1", "a1"],
        pairs={"a1": [text, None], "a2": [text, text]},
    )
    assert model.predict(odd) == ["same", "same"]


@pytest.mark.parametrize(("ties", "n_tested"), [("drop", False), ("half", True)])
def test_ties_are_dropped_or_taken_as_half(rng, ties, n_tested):
    clips = make_prefer(rng, ties=0.3)
    found = ClipModel(task="prefer", ties=ties, **BRIEF).fit(clips)
    tied = np.array([label == "same" for label in clips.labels])
    assert ((found.folds[tied] >= 0) == n_tested).all()
    assert (found.folds[~tied] >= 0).all()


@pytest.mark.parametrize("kind", ["labels", "embedding"])
def test_openset_labels_by_themselves_and_by_their_vectors(rng, wheels, kind):
    clips = make_openset(rng)
    words = ["gladly", "glumly", "glad", "odd"]
    vectors = {w: rng.normal(size=8).astype(np.float32) for w in words}
    model = ClipModel(task="fg", kind=kind, **QUICK)
    found = model.fit(clips, wheels=wheels, vectors=vectors)
    constant = ew_score(clips.labels, [("gladly",)] * len(clips), wheels)
    assert ew_score(clips.labels, found.answers, wheels) > constant + 0.1
    assert 0 < model.threshold_ < 1
    assert all(1 <= len(answer) <= 6 for answer in found.answers)


def test_what_is_missing_for_openset_is_told(rng, wheels):
    clips = make_openset(rng, 30)
    with pytest.raises(InputError, match=r"needs the emotion wheels; .* data\.wheels"):
        ClipModel(task="fg").fit(clips)
    with pytest.raises(InputError, match="no label occurs 99 times"):
        ClipModel(task="fg", min_count=99).fit(clips, wheels=wheels)
    with pytest.raises(InputError, match="name a text encoder as label_encoder"):
        ClipModel(task="fg", kind="embedding").fit(clips, wheels=wheels)


@pytest.mark.parametrize("task", ["cross", "prefer"])
def test_a_model_on_disk_answers_alike_and_odd_ones_are_refused(rng, tmp_path, task):
    clips = make_cross(rng, 40) if task == "cross" else make_prefer(rng, 40)
    model = ClipModel(task=task, **BRIEF)
    model.fit(clips)
    save_model(model, tmp_path, card=CARD, classes=MODELS)
    again, card = load_model(tmp_path, classes=MODELS)
    np.testing.assert_array_equal(
        again.decision_function(clips), model.decision_function(clips)
    )
    assert card["terms"] == "made up"
    with pytest.raises(DataError, match="no class of merps"):
        load_model(tmp_path)
    model.widths_ = model.widths_ + 1
    save_model(model, tmp_path, card=CARD, classes=MODELS)
    with pytest.raises(DataError, match="of the wrong type or shape"):
        load_model(tmp_path, classes=MODELS)


def test_other_features_than_those_fitted_on_are_refused(rng):
    model = ClipModel(task="cross", **BRIEF)
    model.fit(make_cross(rng, 40))
    other = make_clips({"face": [np.zeros(5)], "voice": [np.zeros(4)]}, ["sad"])
    with pytest.raises(InputError, match="fitted on 6 features, found 5 features"):
        model.predict(other)
    lacking = make_clips({"face": [np.zeros(6)]}, ["sad"])
    with pytest.raises(InputError, match=r"stream voice: .* found none"):
        model.predict(lacking)
    with pytest.raises(InputError, match="no row has the stream face"):
        model.fit(make_clips({"face": [None, None]}, ["sad", "happy"]))
