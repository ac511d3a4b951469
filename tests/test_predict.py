import csv
import shutil
import tempfile

import broken
import numpy as np
import pytest

from merps.config import load_config
from merps.errors import DataError, InputError, SpaceError
from merps.models.persistence import load_model
from merps.pipeline import (
    evaluate_model,
    extract_samples,
    fit_model,
    predict_dataset,
    score_predictions,
)
from merps.predictions import read_predictions, read_sample_ids
from merps.scores import finalize
from merps.store import Store


@pytest.fixture(scope="module")
def predicted(run, newcomers, reserved, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted") / "predictions.csv"
    return predict_dataset(run, newcomers, out, store=reserved), out


@pytest.fixture
def kept(reserved, tmp_path):
    """A store with the newcomers in it, to be changed."""
    return shutil.copytree(reserved, tmp_path / "kept")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One unlabeled person, quick to preprocess."""
    root = tmp_path_factory.mktemp("small") / "data"
    return broken.make_folder(root, people=("new_1",), labels=False)


@pytest.fixture
def copy(newcomers, tmp_path):
    return shutil.copytree(newcomers, tmp_path / "copy")


def of_person(predicted, person):
    rows = [name.startswith(person) for name in predicted.ids]
    return predicted.values[rows]


def test_every_id_is_answered_once_and_in_order(predicted, newcomers):
    result, out = predicted
    asked = read_sample_ids(newcomers / "sample_ids.csv")
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == asked == list(result.ids)
    values = np.array([(int(row["valence"]), int(row["arousal"])) for row in rows])
    np.testing.assert_array_equal(values, result.values)
    assert values.min() >= 1
    assert values.max() <= 255
    assert (result.without_signals, result.preprocessed.failed) == (0, ())
    _, n_samples = score_predictions(out, newcomers / "targets.csv")
    assert n_samples == len(asked) == 42


def test_the_model_of_the_run_is_what_predicts(run, reserved, predicted):
    result, _ = predicted
    model, _ = load_model(run)
    values = model.predict(extract_samples(Store.open(reserved)))
    np.testing.assert_array_equal(finalize(values), result.values)


@pytest.mark.parametrize("model", ["riemannian", "convolutional"])
def test_an_answer_does_not_depend_on_what_else_is_asked(
    store, copy, reserved, tmp_path, model
):
    """Though windows and matrices are averaged over neighbors and scaled by person."""
    config = load_config(
        None,
        [
            "model.alphas=[1]",
            "model.convolutional.epochs=1",
            "model.convolutional.sequence_s=4",
            "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
        ],
    )
    run, out = tmp_path / "run", tmp_path / "p.csv"
    fit_model(store, run, model=model, config=config)
    whole = predict_dataset(run, copy, out, store=reserved)
    assert whole.without_signals == 0
    assert len(np.unique(whole.values, axis=0)) > 1
    ids = read_sample_ids(copy / "sample_ids.csv")[::3]
    lines = ["sample_id", *ids, "predict9_V01_T000"]
    (copy / "sample_ids.csv").write_text("\n".join(lines) + "\n")
    part = predict_dataset(run, copy, out, store=reserved)
    assert part.without_signals == 1
    np.testing.assert_array_equal(part.values[:-1], whole.values[::3])


def test_jobs_and_repetition_change_no_byte(run, newcomers, tmp_path, predicted):
    """From the recordings on, in a private store."""
    _, out = predicted
    predict_dataset(run, newcomers, tmp_path / "p.csv", jobs=1)
    assert (tmp_path / "p.csv").read_bytes() == out.read_bytes()


def test_rows_of_the_ids_may_stand_in_any_order(run, copy, tmp_path, predicted):
    result, _ = predicted

    def turn(lines):
        return [lines[0], *lines[:0:-1]]

    broken.edit_lines(copy / "sample_ids.csv", turn)
    again = predict_dataset(run, copy, tmp_path / "p.csv")
    assert again.ids == result.ids[::-1]
    np.testing.assert_array_equal(again.values, result.values[::-1])


def test_without_ids_every_second_is_predicted(run, copy, tmp_path, predicted):
    result, _ = predicted
    for name in ("sample_ids.csv", "targets.csv"):
        (copy / name).unlink()
    shutil.rmtree(copy / "annotations", ignore_errors=True)
    again = predict_dataset(run, copy, tmp_path / "p.csv")
    assert set(again.ids) == set(result.ids)
    np.testing.assert_array_equal(again.values, result.values)


def test_a_person_without_fnirs_is_predicted_by_eeg(
    run, copy, kept, tmp_path, predicted
):
    result, _ = predicted
    for name in ("fNIRS_videos.mat", "fNIRS_baselines.mat"):
        (copy / "data" / "predict1" / name).unlink()
    again = predict_dataset(run, copy, tmp_path / "p.csv", store=kept)
    assert again.ids == result.ids
    assert again.without_signals == 0
    assert (
        of_person(again, "predict2").tolist() == of_person(result, "predict2").tolist()
    )


def test_a_missing_video_is_answered_without_signals(
    run, copy, kept, tmp_path, predicted
):
    result, _ = predicted
    for name in ("EEG_videos", "fNIRS_videos"):
        path = copy / "data" / "predict2" / f"{name}.mat"
        broken.edit_mat(path, lambda arrays: arrays.pop("video_3"))
    again = predict_dataset(run, copy, tmp_path / "p.csv", store=kept)
    assert again.ids == result.ids
    assert again.without_signals == 8
    lost = [name.startswith("predict2_V03") for name in again.ids]
    prior = load_model(run)[0].prior_.courses_
    assert np.sum(lost) == 8
    assert set(map(tuple, again.values[lost])) <= set(map(tuple, finalize(prior)))
    assert again.values[np.logical_not(lost)].tolist() == (
        result.values[np.logical_not(lost)].tolist()
    )


def test_a_person_who_cannot_be_read_is_answered_and_named(run, copy, kept, tmp_path):
    for name in ("EEG_videos.mat", "fNIRS_videos.mat"):
        (copy / "data" / "predict1" / name).write_bytes(b"")
    result = predict_dataset(run, copy, tmp_path / "p.csv", store=kept)
    assert (len(result.ids), result.without_signals) == (42, 21)
    assert {person for person, _ in result.preprocessed.failed} == {"predict1"}
    assert result.as_dict()["failed"][0]["person"] == "predict1"


def test_if_nobody_can_be_read_the_ids_are_answered_all_the_same(run, copy, tmp_path):
    for path in (copy / "data").rglob("*.mat"):
        path.write_bytes(b"")
    result = predict_dataset(run, copy, tmp_path / "p.csv")
    assert (len(result.ids), result.without_signals) == (42, 42)
    ((where, message),) = result.preprocessed.failed
    assert where == str(copy)
    assert message.startswith("not one recording could be used:")
    (copy / "sample_ids.csv").unlink()
    with pytest.raises(DataError, match="not one recording could be used"):
        predict_dataset(run, copy, tmp_path / "p.csv")


def test_who_was_in_training_is_told(
    run, newcomers, kept, simulated, store, tmp_path, caplog
):
    caplog.set_level("INFO", logger="merps")
    predict_dataset(run, newcomers, tmp_path / "p.csv", store=kept)
    assert "never seen in training: predict1, predict2" in caplog.messages
    assert not any(text.startswith("seen") for text in caplog.messages)
    caplog.clear()
    known = shutil.copytree(store, tmp_path / "store")
    predict_dataset(run, simulated, tmp_path / "p.csv", store=known)
    assert "seen in training: test_1, test_2, test_3, test_4" in caplog.messages
    assert not any(text.startswith("never") for text in caplog.messages)


def test_unknown_videos_are_predicted_too(run, tmp_path):
    root = broken.make_folder(tmp_path / "data", people=("new_1",), labels=False)
    for name in broken.FILES:
        broken.edit_mat(
            broken.file_of(root, name, "new_1"),
            lambda arrays: arrays.update(video_12=arrays.pop("video_3")),
        )
    result = predict_dataset(run, root, tmp_path / "p.csv")
    assert list(result.ids) == [
        f"new_1_{v}_T{t:03d}"
        for v, n in (("V01", 6), ("V02", 7), ("V12", 8))
        for t in range(n)
    ]


@pytest.mark.parametrize("model", ["constant", "video_time"])
def test_models_without_signals_predict_as_well(noise_store, small, tmp_path, model):
    fitted = fit_model(noise_store, tmp_path / "run", model=model)
    result = predict_dataset(tmp_path / "run", small, tmp_path / "p.csv")
    assert result.without_signals == len(result.ids) == 6 + 7 + 8
    same_seconds = extract_samples(Store.open(noise_store), people=["test_1"])
    expected = finalize(fitted.model.predict(same_seconds))
    np.testing.assert_array_equal(result.values, expected)


# Where signals go


def test_the_private_store_is_private_and_goes_away(run, small, tmp_path, monkeypatch):
    from merps.pipeline import predict

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    plain = predict.extract_samples

    def spy(store, **options):
        folder = store.path.parent
        seen.append((folder.parent, folder.stat().st_mode & 0o777))
        return plain(store, **options)

    monkeypatch.setattr(predict, "extract_samples", spy)
    (tmp_path / "out").mkdir()
    predict_dataset(run, small, tmp_path / "out" / "p.csv")
    assert seen == [(tmp_path, 0o700)]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr(predict, "extract_samples", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_dataset(run, small, tmp_path / "out" / "p.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["p.csv"]


def test_a_store_that_is_kept_answers_for_these_people_only(run, tmp_path):
    people = ("new_1", "new_2")
    data = broken.make_folder(
        tmp_path / "data", people=people, labels=False, reservations=False
    )
    first = predict_dataset(run, data, tmp_path / "p.csv", store=tmp_path / "store")
    assert first.preprocessed.done == people
    shutil.rmtree(data / "data" / "new_1")
    second = predict_dataset(run, data, tmp_path / "p.csv", store=tmp_path / "store")
    assert second.preprocessed.skipped == ("new_2",)
    assert {name.rsplit("_", 2)[0] for name in second.ids} == {"new_2"}
    np.testing.assert_array_equal(second.values, of_person(first, "new_2"))


# What is refused


def test_the_options_of_the_model_are_sealed_with_it(
    run, newcomers, kept, tmp_path, predicted
):
    _, out = predicted
    edited = shutil.copytree(run, tmp_path / "run")
    text = (edited / "config.yaml").read_text().replace("lag_s: 0.0", "lag_s: 2.0")
    (edited / "config.yaml").write_text(text)
    predict_dataset(edited, newcomers, tmp_path / "p.csv", store=kept)
    assert (tmp_path / "p.csv").read_bytes() == out.read_bytes()


def test_what_is_no_fitted_model_is_refused(noise_store, run, newcomers, tmp_path):
    out = tmp_path / "p.csv"
    with pytest.raises(
        DataError, match=r"expected a finished run with run.json, found no"
    ):
        predict_dataset(tmp_path / "nothing", newcomers, out)
    evaluate_model(noise_store, tmp_path / "run", models=[], protocols=["videos"])
    with pytest.raises(InputError, match="is an evaluation and holds no model"):
        predict_dataset(tmp_path / "run", newcomers, out)
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "run.json").write_text('{"kind": "fit"')
    with pytest.raises(DataError, match=r"run.json: damaged"):
        predict_dataset(damaged, newcomers, out)
    shutil.copy(run / "run.json", damaged)
    (damaged / "weights.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match=r"weights.safetensors: "):
        predict_dataset(damaged, newcomers, out)
    assert not out.exists()


def test_bad_ids_are_refused_before_the_work(run, copy, tmp_path):
    broken.edit_lines(copy / "sample_ids.csv", lambda lines: [*lines, lines[-1]])
    with pytest.raises(DataError, match="ids come more than once"):
        predict_dataset(run, copy, tmp_path / "p.csv", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("where", ["a folder", "in a file"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    run, newcomers, tmp_path, where
):
    out = tmp_path / "place"
    if where == "a folder":
        out.mkdir()
    else:
        out.write_text("")
        out = out / "p.csv"
    with pytest.raises(SpaceError, match="cannot write"):
        predict_dataset(run, newcomers, out, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_folders_on_the_way_are_made(run, small, tmp_path):
    new = tmp_path / "a" / "b" / "p.csv"
    result = predict_dataset(str(run), str(small), str(new))
    assert read_predictions(new)[0] == list(result.ids)
