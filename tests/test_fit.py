import hashlib
import json
import shutil

import broken
import numpy as np
import pytest
import yaml

from merps.config import load_config
from merps.errors import DataError, InputError, SpaceError
from merps.models.persistence import load_model, save_model
from merps.options import Config
from merps.pipeline import (
    MODELS,
    evaluate_model,
    fit_model,
    make_model,
    predict_dataset,
    preprocess_dataset,
)
from merps.pipeline.blocks import attach_blocks, needed_blocks
from merps.pipeline.models import open_store
from merps.store import Store

QUICK = load_config(
    None,
    [
        "model.inner_folds=3",
        "model.alphas=[10, 1000]",
        "model.convolutional.epochs=1",
        "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
    ],
)


def card_of(run):
    return json.loads((run / "run.json").read_text())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_made_fitted_saved_and_loaded(store, samples, tmp_path, name):
    fitted = fit_model(store, tmp_path / "run", model=name, config=QUICK)
    assert fitted.people == ("test_1", "test_2", "test_3", "test_4")
    loaded, card = load_model(tmp_path / "run")
    assert type(loaded) is type(fitted.model) is type(make_model(name))
    samples = attach_blocks(
        samples, Store.open(store), needed_blocks(loaded), config=QUICK
    )
    np.testing.assert_array_equal(
        loaded.predict(samples), fitted.model.predict(samples), strict=True
    )
    assert card["name"] == name
    assert "warning" not in card
    json.dumps(fitted.as_dict(), allow_nan=False)


def test_equal_fits_give_equal_bytes(store, run, tmp_path):
    fit_model(store, tmp_path / "run", jobs=1)
    for name in ("model.json", "weights.safetensors", "config.yaml", "run.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_threads_of_the_linear_algebra_are_held_to_one(
    noise_store, tmp_path, monkeypatch
):
    from threadpoolctl import threadpool_info

    from merps.models.priors import ConstantPrior

    seen = []
    plain = ConstantPrior.fit

    def fit(self, samples):
        seen.extend(library["num_threads"] for library in threadpool_info())
        return plain(self, samples)

    monkeypatch.setattr(ConstantPrior, "fit", fit)
    fit_model(noise_store, tmp_path / "run", model="constant")
    assert set(seen) == {1}


def test_the_card_tells_all(store, run):
    card = card_of(run)
    assert card["kind"] == "fit"
    assert card["model"] == "fusion"
    assert card["held_out"] == []
    assert card["seed"] == 0
    assert card["data"]["source"] == "simulated"
    assert card["data"]["role"] == "train"
    assert "may be shared" in card["data"]["terms"]
    assert card["data"]["people"].keys() == {f"test_{k}" for k in (1, 2, 3, 4)}
    assert card["versions"].keys() == {"merps", "numpy", "scipy", "scikit-learn"}
    assert Config.model_validate(card["config"]) == open_store(store, None)[1]
    assert load_model(run)[1]["data"] == card["data"]
    assert (run / ".gitignore").read_text() == "*\n"
    assert run.stat().st_mode & 0o777 == 0o700
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    metrics = json.loads(line)
    assert metrics["n_samples"] == 4 * 30
    for kind in ("known", "new"):
        assert metrics[kind]["gain"].keys() == {"bandpower", "riemannian"}
        assert len(metrics[kind]["inner_mae"]) == 2
    assert str(store) not in (run / "run.json").read_text()


def test_the_configuration_of_a_run_loads_again(noise_store, tmp_path):
    config = load_config(
        None,
        [
            "features.width_s=9",
            "model.kind=constant",
            "model.regressor=huber",
            "model.alphas=[1]",
        ],
    )
    fit_model(noise_store, tmp_path / "run", config=config)
    assert load_config(tmp_path / "run" / "config.yaml") == config


def test_the_file_of_pretrained_weights_is_told_by_its_digest(noise_store, tmp_path):
    path = tmp_path / "secret" / "weights.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"any")
    config = load_config(None, [f"model.convolutional.pretrained={path}"])
    run = tmp_path / "run"
    fit_model(noise_store, run, model="constant", config=config)
    for file in run.iterdir():
        assert b"secret" not in file.read_bytes()
    assert card_of(run)["pretrained_sha256"] == hashlib.sha256(b"any").hexdigest()
    path.unlink()
    with pytest.raises(InputError, match=r"pretrained: .* cannot be read"):
        fit_model(noise_store, run, model="constant", config=config)


def test_held_out_people_are_named_and_not_used(store, tmp_path):
    fitted = fit_model(
        store, tmp_path / "run", model="video", hold_out=["test_3", "test_3"]
    )
    assert fitted.people == ("test_1", "test_2", "test_4")
    card = card_of(tmp_path / "run")
    assert card["held_out"] == ["test_3"]
    assert "test_3" not in card["data"]["people"]
    assert "test_3" not in (tmp_path / "run" / "model.json").read_text()
    with pytest.raises(
        InputError, match=r"cannot hold out test_9: .* has test_1, test"
    ):
        fit_model(store, tmp_path / "other", hold_out=["test_9"])
    everyone = [f"test_{k}" for k in (1, 2, 3, 4)]
    with pytest.raises(InputError, match="no people"):
        fit_model(store, tmp_path / "other", hold_out=everyone)


def test_too_few_people_to_choose_on_leave_no_nan_in_the_files(store, tmp_path):
    fitted = fit_model(store, tmp_path / "run", hold_out=["test_1", "test_2", "test_3"])
    for text in (
        json.dumps(fitted.as_dict()),
        (tmp_path / "run" / "run.json").read_text(),
        (tmp_path / "run" / "metrics.jsonl").read_text(),
    ):
        assert "NaN" not in text


def test_a_store_wins_over_the_configuration(tmp_path, caplog):
    broken.make_folder(tmp_path / "data", people=("test_1",))
    slow = load_config(None, ["preprocess.eeg.band_pass.high_hz=40"])
    preprocess_dataset(tmp_path / "data", tmp_path / "store", config=slow)
    assert open_store(tmp_path / "store", None)[1].preprocess == slow.preprocess
    assert open_store(tmp_path / "store", slow)[1] == slow
    assert not caplog.messages
    other = load_config(None, ["preprocess.eeg.band_pass.high_hz=30"])
    assert open_store(tmp_path / "store", other)[1] == slow
    assert "preprocessed with other options" in caplog.messages[0]


def test_options_that_do_not_go_with_the_store_are_refused(noise_store, tmp_path):
    path = shutil.copytree(noise_store, tmp_path / "store")
    config = load_config(
        None, ["preprocess.eeg.to_hz=400", "features.bands={high: [100, 180]}"]
    )
    message = "features.bands.high ends at 180 Hz, above the Nyquist"
    with pytest.raises(InputError, match=message):
        fit_model(path, tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


# Who may be learned from


def test_people_for_evaluation_only_are_refused(reserved, tmp_path):
    with pytest.raises(InputError, match=r"for evaluation only .*--allow-eval-only"):
        fit_model(reserved, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_exception_is_told_ever_after(reserved, tmp_path, caplog):
    fit_model(reserved, tmp_path / "run", model="video", allow_eval_only=True)
    warning = "fitted on people who are meant for evaluation only"
    assert card_of(tmp_path / "run")["warning"] == warning
    assert card_of(tmp_path / "run")["data"]["role"] == "eval-only"
    assert load_model(tmp_path / "run")[1]["warning"] == warning
    broken.make_folder(tmp_path / "data", people=("p1",), labels=False)
    predict_dataset(tmp_path / "run", tmp_path / "data", tmp_path / "p.csv")
    assert any(warning in message for message in caplog.messages)


# Where a run may be written


def test_a_run_of_the_other_kind_is_refused(noise_store, run, tmp_path):
    before = (run / "run.json").read_bytes()
    with pytest.raises(InputError, match="holds a run of merps fit, not of merps eval"):
        evaluate_model(noise_store, run)
    assert (run / "run.json").read_bytes() == before
    evaluate_model(noise_store, tmp_path / "run", models=[], protocols=["videos"])
    with pytest.raises(InputError, match="holds a run of merps evaluate, not of merps"):
        fit_model(noise_store, tmp_path / "run", model="constant")


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": ""},
        {"config.yaml": "mine: 1\n"},
        {".gitignore": "*.pyc\n"},
        {".gitignore": "*\n", "thesis.tex": ""},
        {"run.json": "{}"},
    ],
)
def test_folders_of_other_things_are_left_alone(noise_store, tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="no run of merps"):
        fit_model(noise_store, tmp_path, model="constant")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == files


def test_a_run_can_be_made_again_in_its_folder(noise_store, tmp_path):
    fit_model(noise_store, tmp_path / "run", model="constant")
    (tmp_path / "run" / "note of mine.txt").write_text("keep")
    fit_model(noise_store, tmp_path / "run", model="video")
    assert card_of(tmp_path / "run")["model"] == "video"
    assert (tmp_path / "run" / "note of mine.txt").read_text() == "keep"
    (tmp_path / "run" / "note of mine.txt").unlink()
    (tmp_path / "run" / "run.json").write_text("{")  # damaged, and plainly ours
    fit_model(noise_store, tmp_path / "run", model="constant")
    assert card_of(tmp_path / "run")["model"] == "constant"


def test_a_fit_that_dies_while_it_writes_is_no_run(noise_store, tmp_path, monkeypatch):
    from merps.pipeline import models

    fit_model(noise_store, tmp_path / "run", model="constant")

    def save_and_die(*arguments, **options):
        save_model(*arguments, **options)
        raise SpaceError("full")

    with monkeypatch.context() as context:
        context.setattr(models, "save_model", save_and_die)
        with pytest.raises(SpaceError, match="full"):
            fit_model(noise_store, tmp_path / "run", model="video")
    with pytest.raises(DataError, match=r"expected a finished run with run.json"):
        predict_dataset(tmp_path / "run", "nowhere", tmp_path / "p.csv")
    fit_model(noise_store, tmp_path / "run", model="video")  # and can be done again
    assert load_model(tmp_path / "run")[1]["name"] == "video"


def test_a_file_is_no_folder(noise_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; choose a folder"):
        fit_model(noise_store, tmp_path / "file")
    with pytest.raises((SpaceError, OSError), match="file"):
        fit_model(noise_store, tmp_path / "file" / "run", model="constant")


# What is no store


def test_what_is_no_store_is_refused(store, tmp_path):
    with pytest.raises(DataError, match=r"expected a store with store.json, found no "):
        fit_model(tmp_path / "nothing", tmp_path / "run")
    Store.create(
        tmp_path / "empty",
        config=Config().preprocess.model_dump(mode="json"),
        source="simulated",
        role="train",
        terms="none",
    )
    with pytest.raises(InputError, match="nobody is in the store"):
        fit_model(tmp_path / "empty", tmp_path / "run")
    with pytest.raises(
        InputError, match="no model 'forest'; there are constant, video"
    ):
        fit_model(store, tmp_path / "run", model="forest")


def test_a_store_of_another_version_is_told(tmp_path, store):
    config = Config().preprocess.model_dump(mode="json")
    config["eeg"]["rereference"] = "average"
    fresh = Store.create(
        tmp_path / "store", config=config, source="a", role="train", terms="b"
    )
    path = shutil.copytree(store, tmp_path / "copy")
    (path / "store.json").write_bytes((fresh.path / "store.json").read_bytes())
    for person in ("test_1",):
        with Store.open(store).person(person) as stored:
            Store.open(path).record(person, stored.sidecar["key"])
    with pytest.raises(InputError, match=r"preprocess.eeg.rereference Extra inputs"):
        open_store(path, None)


def test_labels_are_needed(tmp_path):
    broken.make_folder(tmp_path / "data", people=("p1",), labels=False)
    preprocess_dataset(tmp_path / "data", tmp_path / "store")
    run = tmp_path / "run"
    with pytest.raises(InputError, match="no row has labels"):
        fit_model(tmp_path / "store", run, model="video", allow_eval_only=True)


def test_options_are_written_as_yaml_for_people(run):
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["windows"] == {"window_s": 4.0, "lag_s": 0.0, "lookahead_s": 0.0}
