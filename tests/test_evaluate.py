import json

import numpy as np
import pytest

from merps.config import load_config
from merps.errors import InputError
from merps.evaluation.protocol import RUNGS
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.lags import LagSearch
from merps.pipeline import evaluate_model, make_model, score_predictions
from merps.pipeline.evaluate import transductive_steps
from merps.predictions import read_predictions, write_predictions
from merps.splits import PROTOCOLS

METRICS = {"mse", "rmse"} | {
    f"{name}{end}"
    for name in ("mae", "ccc", "pearson")
    for end in ("", "_valence", "_arousal")
}
ADDED = {f"pearson_added{end}" for end in ("", "_valence", "_arousal")}
QUICK = load_config(
    None,
    [
        "model.inner_folds=3",
        "model.alphas=[10, 1000]",
        "model.gains=[0.5]",
        "evaluate.bootstrap=100",
    ],
)


QUICK_NAMES = [
    *("constant", "video", "video_time"),
    *("bandpower", "riemannian", "fusion"),
]


@pytest.fixture(scope="module")
def evaluated(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluated") / "run"
    return evaluate_model(store, path, config=QUICK), path


def test_the_result_is_the_object_that_others_rely_on(evaluated):
    evaluation, _ = evaluated
    content = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert list(content) == ["protocols"]
    assert list(content["protocols"]) == list(PROTOCOLS)
    for models in content["protocols"].values():
        assert list(models) == QUICK_NAMES
        assert all(metrics.keys() == METRICS | ADDED for metrics in models.values())
        assert models["constant"]["pearson_added"] == 0


def test_files_scored_by_themselves_say_the_same(evaluated, tmp_path):
    evaluation, path = evaluated
    targets = tmp_path / "targets.csv"
    samples = evaluation.samples
    write_predictions(targets, samples.ids, samples.targets)
    files = sorted((path / "predictions").glob("*/*.csv"))
    assert len(files) == len(PROTOCOLS) * 6
    for file in files:
        metrics, n_samples = score_predictions(file, targets)
        assert n_samples == len(samples) == 4 * 30
        assert metrics == evaluation.scores[file.parent.name][file.stem]
    ids, _ = read_predictions(files[0])
    assert ids == samples.ids


def test_metrics_and_card_are_complete(evaluated):
    evaluation, path = evaluated
    lines = [json.loads(t) for t in (path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == len(PROTOCOLS) * 6
    for line in lines:
        protocol, model = line["protocol"], line["model"]
        pooled = evaluation.scores[protocol][model]
        assert {name: line[name] for name in METRICS} == pooled
        assert line["per_trial"] == evaluation.trial_scores[protocol][model]
        low, high = line["interval"]["mae"]
        assert low <= pooled["mae"] <= high
    card = json.loads((path / "run.json").read_text())
    assert card["kind"] == "evaluate"
    assert card["models"] == QUICK_NAMES
    assert card["folds"].keys() == set(PROTOCOLS)
    assert len(card["folds"]["people"]["folds"]) == 4
    assert card["folds"]["people"]["folds"][0]["test_people"] == ["test_1"]
    assert card["folds"]["people"]["facts"]["fusion"].keys() == {
        f"test_{k}" for k in (1, 2, 3, 4)
    }
    assert card["transductive"] == list(evaluation.transductive)
    assert "NaN" not in (path / "run.json").read_text()
    assert load_config(path / "config.yaml") == QUICK


def test_the_rungs_are_always_there(noise_store):
    evaluation = evaluate_model(
        noise_store, models=["video"], protocols=["videos", "videos"], config=QUICK
    )
    assert list(evaluation.scores) == ["videos"]
    assert list(evaluation.scores["videos"]) == list(RUNGS)


def test_the_number_of_jobs_changes_nothing(evaluated, store):
    evaluation, _ = evaluated
    again = evaluate_model(store, protocols=["both"], config=QUICK, jobs=1)
    assert again.scores["both"] == evaluation.scores["both"]
    one = evaluation.results[PROTOCOLS.index("both")].predictions
    for model, predicted in again.results[0].predictions.items():
        np.testing.assert_array_equal(predicted, one[model])


def test_protocols_are_those_of_the_configuration(noise_store):
    config = QUICK.model_copy(
        update={
            "evaluate": QUICK.evaluate.model_copy(update={"protocols": ("people",)})
        }
    )
    assert list(evaluate_model(noise_store, models=[], config=config).scores) == [
        "people"
    ]


def test_a_smaller_evaluation_leaves_nothing_of_a_larger_one(noise_store, tmp_path):
    for protocols in (["people", "videos"], ["videos"]):
        evaluate_model(
            noise_store, tmp_path / "run", models=[], protocols=protocols, config=QUICK
        )
    folders = [p.name for p in (tmp_path / "run" / "predictions").iterdir()]
    assert folders == ["videos"]


def test_names_are_checked_before_the_work(noise_store, tmp_path):
    with pytest.raises(
        InputError, match="no protocol 'peple'; there are people, videos"
    ):
        evaluate_model(noise_store, tmp_path / "run", protocols=["peple"])
    with pytest.raises(InputError, match="no model 'forest'"):
        evaluate_model(noise_store, tmp_path / "run", models=["forest"])
    assert not (tmp_path / "run").exists()


def test_evaluation_people_are_evaluated_with_a_warning(reserved, tmp_path, caplog):
    evaluate_model(
        reserved,
        tmp_path / "run",
        models=[],
        protocols=["videos"],
        config=QUICK,
    )
    warning = "fitted on people who are meant for evaluation only"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warning"] == warning
    assert warning in caplog.messages[-1]


def test_transductive_steps_are_told():
    assert transductive_steps(QUICK) == (
        "EEG features are relative to all rests of the same person",
    )
    config = load_config(
        None, ["features.reference=trial_rest", "features.fnirs_reference=person"]
    )
    assert transductive_steps(config) == (
        "fNIRS features are standardized over all recordings of the person",
    )


def test_progress_counts_folds_and_people_whose_signals_are_needed(noise_store):
    class Counter:
        total, units = None, 0

        def expect(self, total):
            self.total = total

        def done(self, unit):
            self.units += 1

    counter = Counter()
    evaluate_model(
        noise_store,
        models=[],
        protocols=["people", "both"],
        config=QUICK,
        progress=counter,
    )
    assert counter.total == counter.units == 2 + 2 * 3


def test_steps_of_models_are_told():
    models = [
        LagSearch(make_model("riemannian")),
        ConvolutionalRegressor(alignment="whiten"),
        make_model("bandpower"),
    ]
    steps = transductive_steps(load_config(None, ["features.reference=none"]), models)
    assert steps == (
        "covariances are relative to all rests of the same person",
        "nets see EEG whitened by its mean covariance over all recordings of the "
        "person",
    )
