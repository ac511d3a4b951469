"""Every preset can be fitted, and says what is ours in it."""

import pytest

from merps.config import load_config, preset_names
from merps.errors import InputError
from merps.models.blend import FixedBlend
from merps.models.convolutional import ConvolutionalRegressor
from merps.models.lags import LagSearch
from merps.models.riemannian import RiemannianRegressor
from merps.options import Config, ModelConfig
from merps.pipeline import MODELS, make_model

KINDS = {
    "conformer": ConvolutionalRegressor,
    "filter_bank": RiemannianRegressor,
    "fixed_blend": FixedBlend,
    "graph": ConvolutionalRegressor,
    "shallow": ConvolutionalRegressor,
}


@pytest.mark.parametrize("name", KINDS)
def test_presets_of_models_are_models(name):
    section = load_config(name).model
    assert "kind" in section.model_fields_set
    made = make_model(name)
    assert type(made) is KINDS[name]
    assert repr(made) == repr(make_model(section.kind, section))


def test_all_presets_that_choose_a_model_are_known_here():
    chosen = {
        name
        for name in preset_names()
        if "kind" in load_config(name).model.model_fields_set
    }
    assert chosen - {"default", "lag_search"} == set(KINDS)
    assert not set(KINDS) & set(MODELS)


def test_unknown_models_are_told_with_all_names():
    with pytest.raises(InputError, match=r"no model 'delays'; there are .*shallow"):
        make_model("delays")


def test_presets_that_set_more_are_refused_as_models():
    with pytest.raises(InputError, match="use --config lag_search"):
        make_model("lag_search")
    config = load_config("lag_search").model
    made = make_model(config.kind, config)
    assert isinstance(made, LagSearch)
    assert 0 in made.eeg_lags_s


def test_given_options_win_over_the_preset():
    given = load_config(None, ["model.convolutional.epochs=2", "model.kind=bandpower"])
    made = make_model("graph", given.model)
    assert (made.epochs, made.net) == (2, "GraphCrossAttention")
    assert made.sequence_s == make_model("graph").sequence_s > 1


def test_lags_that_are_not_searched_are_told(caplog):
    make_model("convolutional", load_config("lag_search").model)
    assert "does not search model.lags" in caplog.text
    fusion = make_model("fusion", load_config("lag_search").model)
    assert all(isinstance(part, LagSearch) for part in fusion.models.values())


@pytest.mark.parametrize("kind", ["fusion", "blend"])
def test_parts_are_models_and_presets_of_the_signals(kind):
    parts = ["bandpower", "filter_bank", "graph"]
    config = ModelConfig(**{kind: {"models": parts}}, alphas=(7.0,))
    made = make_model(kind, config, seed=3)
    assert list(made.models) == parts
    assert made.models["bandpower"].regressor.alphas == (7.0,)
    assert made.models["graph"].net == "GraphCrossAttention"
    assert made.models["graph"].seed == 3
    for part in ("fusion", "video_time", "fixed_blend"):
        config = ModelConfig(**{kind: {"models": [part]}})
        with pytest.raises(InputError, match="does not learn from signals alone"):
            make_model(kind, config)
    config = ModelConfig(**{kind: {"models": ["eeg"]}})
    with pytest.raises(InputError, match="no model 'eeg'"):
        make_model(kind, config)


@pytest.mark.parametrize(
    ("section", "estimator"),
    [("riemannian", RiemannianRegressor), ("convolutional", ConvolutionalRegressor)],
)
def test_options_are_the_defaults_of_the_estimator(section, estimator):
    options = getattr(Config().model, section).model_dump()
    defaults = estimator().get_params(deep=False)
    assert options.items() <= defaults.items()
    assert set(defaults) - set(options) <= {"seed", "regressor", "jobs", "phase"}


def test_lags_are_searched_where_there_are_several():
    config = ModelConfig(kind="riemannian", lags={"eeg_s": [0, 2]})
    made = make_model("riemannian", config)
    assert isinstance(made, LagSearch)
    assert (made.eeg_lags_s, made.fnirs_lags_s) == ((0, 2), (0,))
    assert isinstance(made.model, RiemannianRegressor)
    assert isinstance(make_model("riemannian"), RiemannianRegressor)


def test_the_seed_reaches_the_net():
    assert make_model("convolutional", seed=3).seed == 3
    assert make_model("shallow", seed=3).seed == 3
