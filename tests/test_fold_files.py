import json
import shutil

import numpy as np
import pytest
from tables import make_samples

from merps.errors import SpaceError
from merps.evaluation.fold_files import FoldFiles, FoldResult, describe_estimator
from merps.evaluation.protocol import fit_fold, plan_folds
from merps.models.priors import VideoTimePrior
from merps.models.regression import RidgeRegressor
from merps.models.signals import SignalModel

FACTS = {"gain": [0.5, 0.1 + 0.2], "curve": [[1.0, None]], "a": {"z": 1, "b": 3}}


@pytest.fixture
def tasks(rng):
    samples = make_samples(rng, n_people=3, lengths=(4, 5, 6))
    return plan_folds(samples, ["a", "b"], ["people", "both"], seed=0)


def opened(path, **changes):
    options = {"basis": {"people": {"test_1": "k"}, "seed": 0}}
    options["models"] = {"a": {"alpha": 1.0}, "b": {"alpha": 2.0}}
    return FoldFiles(path / "folds", path / "checkpoints", **options | changes)


def result(task, rng):
    return FoldResult(100 * rng.normal(size=(len(task.fold.test), 2)), FACTS)


def test_what_is_read_is_what_was_written(tasks, tmp_path, rng):
    files = opened(tmp_path)
    assert all(files.read(task) is None for task in tasks)
    written = {task: result(task, rng) for task in tasks}
    for task, one in written.items():
        files.write(task, one)
    again = opened(tmp_path)
    for task, one in written.items():
        found = again.read(task)
        assert found.predictions.tobytes() == one.predictions.tobytes()
        assert json.dumps(found.facts) == json.dumps(FACTS)  # in the same order
        found.predictions[0] = 0  # is a copy
    assert len(list((tmp_path / "folds").iterdir())) == len(tasks)


@pytest.mark.parametrize(
    "changes",
    [
        {"basis": {"people": {"test_1": "other"}, "seed": 0}},
        {"basis": {"people": {"test_1": "k"}, "seed": 1}},
        {"models": {"a": {"alpha": 1.5}, "b": {"alpha": 2.0}}},
    ],
)
def test_another_key_is_passed_over_and_replaced(tasks, tmp_path, rng, changes, caplog):
    task = tasks[0]
    opened(tmp_path).write(task, result(task, rng))
    changed = opened(tmp_path, **changes)
    assert changed.read(task) is None
    assert not caplog.records
    changed.write(task, result(task, rng))
    assert changed.read(task) is not None
    assert opened(tmp_path).read(task) is None


def test_another_division_is_another_key(tmp_path, rng):
    samples = make_samples(rng, n_people=2, lengths=(4,) * 15)
    files = opened(tmp_path)
    for seed, reused in ((0, 0), (0, 5), (2, 0)):
        tasks = plan_folds(samples, ["a"], ["videos"], seed=seed)
        assert sum(files.read(task) is not None for task in tasks) == reused
        for task in tasks:
            files.write(task, result(task, rng))


def test_no_flipped_bit_is_believed(tasks, tmp_path, rng, caplog):
    files, task = opened(tmp_path), tasks[0]
    written = result(task, rng)
    files.write(task, written)
    (path,) = (tmp_path / "folds").iterdir()
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        found = files.read(task)
        if found is not None:  # a space of the header that became another one
            assert found.predictions.tobytes() == written.predictions.tobytes()
            assert found.facts == FACTS
            assert chr(whole[place]) == " "
    assert "the fold is done again" in caplog.text


@pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
def test_a_cut_or_foreign_file_is_told_and_passed_over(
    tasks, tmp_path, rng, cut, caplog
):
    files, task = opened(tmp_path), tasks[0]
    files.write(task, result(task, rng))
    (path,) = (tmp_path / "folds").iterdir()
    path.write_bytes(path.read_bytes()[:cut])
    assert files.read(task) is None
    assert f"{path}: expected what was written" in caplog.text
    path.unlink()
    path.mkdir()
    assert files.read(task) is None


def test_a_result_under_the_name_of_another_fold_is_not_taken(tasks, tmp_path, rng):
    files = opened(tmp_path)
    files.write(tasks[0], result(tasks[0], rng))
    (path,) = (tmp_path / "folds").iterdir()
    files.write(tasks[1], result(tasks[1], rng))
    (other,) = set((tmp_path / "folds").iterdir()) - {path}
    shutil.copy(path, other)
    assert files.read(tasks[1]) is None


def test_the_manifest_is_written_once(tasks, tmp_path):
    opened(tmp_path).fix(tasks)
    path = tmp_path / "folds" / "manifest.json"
    before = path.stat()
    content = json.loads(path.read_text())["folds"]
    assert content["people"]["test_1"]["test_people"] == ["test_1"]
    assert content["both"].keys() == {t.fold.name for t in tasks[6:]}
    opened(tmp_path).fix(tasks)
    assert path.stat().st_ino == before.st_ino
    opened(tmp_path).fix(tasks[:2])
    assert json.loads(path.read_text())["folds"].keys() == {"people"}
    path.write_text("{")
    opened(tmp_path).fix(tasks)
    assert json.loads(path.read_text())["folds"] == content


def test_unfinished_files_and_checkpoints_go(tasks, tmp_path, rng):
    folder = tmp_path / "folds"
    folder.mkdir()
    (folder / "x.safetensors.999999999.0a1b2c3d.tmp").touch()
    files = opened(tmp_path)
    assert not list(folder.iterdir())
    places = {files.checkpoints(task) for task in tasks}
    assert len(places) == len(tasks)  # no two trainings in one folder
    for place in places:
        place.mkdir(parents=True)
    files.write(tasks[0], result(tasks[0], rng))
    left = set((tmp_path / "checkpoints").iterdir())
    assert left == places - {files.checkpoints(tasks[0])}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "folds").touch()
    with pytest.raises(SpaceError, match="folds: cannot write"):
        opened(tmp_path)


def test_estimators_are_described_to_the_last_parameter():
    described = describe_estimator(SignalModel(RidgeRegressor(alphas=(1.0, 2.0))))
    assert described["class"] == "SignalModel"
    assert described["regressor"]["class"] == "RidgeRegressor"
    assert described["regressor"]["alphas"] == [1.0, 2.0]
    json.dumps(described)
    assert describe_estimator(VideoTimePrior(smoothing_s=5))["smoothing_s"] == 5


def test_facts_and_predictions_of_a_model_survive_unchanged(tmp_path, rng):
    samples = make_samples(rng, n_people=4, effect=1.0)
    (task, *_) = plan_folds(samples, ["a"], ["people"], seed=0)
    made = fit_fold(SignalModel(), samples, task.fold)
    files = opened(tmp_path)
    files.write(task, made)
    found = files.read(task)
    assert found.facts == made.facts
    assert json.dumps(found.facts) == json.dumps(made.facts)
    np.testing.assert_array_equal(found.predictions, made.predictions)
