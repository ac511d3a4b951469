import inspect
import random
import re

import pytest
import yaml

from merps import dataset_options, options, splits
from merps.config import PRESETS, dump_config, load_config, preset_names
from merps.documents import MAX_BYTES, Document
from merps.errors import ConfigError
from merps.options import Config
from merps.preprocessing import (
    artifacts,
    bad_channels,
    coupling,
    filters,
    motion,
    quality,
    repair,
    short_channels,
    synchrony,
)
from merps.shipped import shipped
from merps.windows import WindowGrid

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"

STAGES = [
    (options.EegBandPassConfig, filters.band_pass),
    (options.FnirsBandPassConfig, filters.band_pass),
    (options.NotchConfig, filters.notch),
    (options.EegQualityConfig, quality.measure_quality),
    (options.FnirsQualityConfig, quality.measure_quality),
    (options.LeadInConfig, repair.joins),
    (options.LineFitConfig, artifacts.fit_line_noise),
    (options.BadChannelConfig, bad_channels.find_bad_channels),
    (options.ComponentsConfig, artifacts.remove_components),
    (options.CouplingConfig, coupling.windowed_coupling),
    (options.ShortChannelConfig, short_channels.regress_short_channels),
]


def problems(text, tmp_path, overrides=()):
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


def default_text():
    return (shipped(PRESETS) / "default.yaml").read_text()


def test_default_file_says_what_the_code_does():
    assert load_config("default") == load_config() == Config()


def test_default_file_spells_out_and_explains_every_option():
    text = default_text()
    assert yaml.safe_load(text) == Config().model_dump(mode="json")

    def leaves(tree):
        for name, value in tree.items():
            yield from leaves(value) if isinstance(value, dict) else [name]

    explained = set(re.findall(r"^\s*(\w+):.*#", text, re.MULTILINE))
    bands = set(Config().features.bands)
    assert set(leaves(Config().model_dump())) - bands <= explained


@pytest.mark.parametrize(("section", "stage"), STAGES)
def test_every_option_is_a_keyword_of_its_stage(section, stage):
    parameters = inspect.signature(stage).parameters.values()
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert section.model_fields.keys() <= keywords


def test_sections_of_two_stages_are_keywords_of_either():
    keywords = {*inspect.signature(motion.find_motion).parameters}
    keywords |= {*inspect.signature(motion.spline_motion).parameters}
    assert options.SplineConfig.model_fields.keys() <= keywords
    keywords = {*inspect.signature(synchrony.fit_clock).parameters, "by", "events"}
    assert dataset_options.SynchronyConfig.model_fields.keys() <= keywords


def test_the_window_section_is_a_window_grid():
    grid = WindowGrid(step_s=1.0, **Config().windows.model_dump())
    assert grid.window_s == Config().windows.window_s


def test_protocols_are_those_of_the_splits():
    assert Config().evaluate.protocols == splits.PROTOCOLS


def test_dump_is_undone_by_load(tmp_path):
    config = load_config(
        None,
        [
            "preprocess.eeg.notch.line_hz=60",
            "features.bands={all: [0, 45]}",
            "model.alphas=[1e-3, 0.1]",
            "preprocess.fnirs.band_pass=null",
        ],
    )
    path = tmp_path / "written.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_a_file_needs_only_what_differs(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "preprocess: {fnirs: {quality: {window_s: 2}}}\nmodel:\n  gains: [0]\n"
    )
    config = load_config(path)
    assert config.preprocess.fnirs.quality.window_s == 2
    assert config.preprocess.fnirs.quality.flat_range == 0.0001
    assert config.model.gains == (0,)
    assert config.preprocess.eeg == Config().preprocess.eeg


def test_an_empty_file_is_the_default(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("# nothing yet\n")
    assert load_config(path) == Config()


def test_overrides_win_and_the_last_one_most(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("evaluate: {seed: 1}\n")
    overrides = ["evaluate.seed=2", "evaluate.seed=3", "model.regressor=huber"]
    config = load_config(path, overrides)
    assert (config.evaluate.seed, config.model.regressor) == (3, "huber")


def test_an_override_opens_a_section_that_is_null():
    notch = load_config("default", ["preprocess.eeg.notch.line_hz=60"])
    assert notch.preprocess.eeg.notch.model_dump() == {
        "line_hz": 60.0,
        "width_hz": 2.0,
        "pad_s": 2.0,
    }


def test_exponents_are_numbers():
    assert load_config(None, ["model.alphas=[1e-3, 1E+2]"]).model.alphas == (1e-3, 100)


def test_sections_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().evaluate.seed = 1


def test_all_problems_come_at_once_with_lines_and_suggestions(tmp_path):
    text = (
        "preprocess:\n"
        "  eeg:\n"
        "    band_pass:\n"
        "      low_hzz: 1.0\n"
        "    to_hz: fast\n"
        "windws:\n"
        "  window_s: 4\n"
        "model:\n"
        "  alphas: [1, -2]\n"
        "  xyz: 1\n"
    )
    found = problems(text, tmp_path, ["evaluate.protocols=[peple]"])
    path = tmp_path / "my.yaml"
    assert sorted(found) == sorted(
        [
            f"{path}, line 4: preprocess.eeg.band_pass.low_hzz: unknown option; "
            "did you mean low_hz?",
            f"{path}, line 5: preprocess.eeg.to_hz: input should be a valid number, "
            "got 'fast'",
            f"{path}, line 6: windws: unknown option; did you mean windows?",
            f"{path}, line 9: model.alphas.1: input should be greater than 0, got -2",
            f"{path}, line 10: model.xyz: unknown option; options here are kind, "
            "regressor, alphas, inner_folds, gains, fusion, blend, lags, riemannian, "
            "convolutional",
            "--set evaluate.protocols=[peple]: evaluate.protocols.0: input should be "
            "'people', 'videos', 'both' or 'within', got 'peple'",
        ]
    )


def test_a_repeated_key_is_a_problem(tmp_path):
    (found,) = problems("model:\n  inner_folds: 3\n  inner_folds: 4\n", tmp_path)
    assert found.endswith("line 3: model.inner_folds is given twice")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["preprocess.eeg.band_pass.low_hz=50"], "low_hz=50 must lie below high_hz=45"),
        (["preprocess.eeg.to_hz=80"], "high_hz=45 must lie below half of to_hz=80"),
        (["preprocess.fnirs.to_hz=1"], "high_hz=0.5 must lie below half of to_hz=1"),
        (["features.bands.gamma=[30, 120]"], "gamma ends at 120 Hz, above the Nyquist"),
        (["features.bands.gamma=[45, 30]"], "band 'gamma' must rise, got 45..30"),
        (
            ["preprocess.eeg.band_pass={low_hz: null, high_hz: null}"],
            "give low_hz or high_hz",
        ),
        (["evaluate.seed"], "expected section.option=value"),
        (["=1"], "expected section.option=value"),
        (["evaluate.seed.x=1"], "evaluate.seed is not a section"),
        (["preprocess.eeg.to_hz=yes"], "should be a valid number, got True"),
        (["preprocess.eeg.to_hz='200'"], "should be a valid number, got '200'"),
        (["windows.window_s=.inf"], "should be a finite number"),
        (["windows.lag_s=-1"], "should be greater than or equal to 0"),
        (["model.inner_folds=2.5"], "should be a valid integer"),
        (["model.inner_folds=2"], "should be greater than or equal to 3"),
        (["model.gains=[]"], "at least 1 item"),
    ],
)
def test_bad_values_are_explained(overrides, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("default", overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "anchors and aliases are not allowed"),
        ("a: *nowhere\n", "anchors and aliases are not allowed"),
        ("model: !!python/object/apply:os.system ['true']\n", "is not allowed"),
        ("model: !x {}\n", "is not allowed"),
        ("[" * 50_000, "nested too deeply"),
        ("- " * 50_000, "nested too deeply"),
        ("? " * 50_000, "nested too deeply"),
        ("{" * 50_000, "nested too deeply"),
        ("evaluate:\n  seed: " + "9" * 9_000, "cannot use the value"),
        ("evaluate: {seed: 0x" + "f" * 9_000 + "}", "cannot use the value"),
        ("evaluate:\n  seed: " + "x" * 20_000, "cannot use the value"),
        ("# " + "x" * MAX_BYTES, "longer than 256 kB"),
        ("- 1\n- 2\n", "expected sections"),
        ("only text\n", "expected sections"),
        ("model: [1, 2\n", "line 2"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("model:\n\tregressor: ridge\n", "line 2"),
        (b"model: \xff\xfe\n", "cannot be read as text"),
        (b"model: \x00\n", "cannot stand in YAML text"),
        ("{[1]: 2}\n", "a key must be a word"),
        ("model: {<<: {regressor: ridge}}\n", "unknown option"),
        ("evaluate: {seed: !!int x}\n", "cannot use the value"),
        ("evaluate: {seed: 2020-13-45}\n", "should be a valid integer"),
        ("evaluate: {seed: !!binary x}\n", "evaluate.seed"),
    ],
)
def test_hostile_text_is_refused(text, message, tmp_path):
    assert any(message in line for line in problems(text, tmp_path))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(
        ConfigError, match=r"preset \(.*default.*\), found no such file"
    ):
        load_config("defualt")
    with pytest.raises(ConfigError, match="found a folder"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "default.yaml")


def test_presets_are_named_and_load():
    assert "default" in preset_names()
    for name in preset_names():
        assert isinstance(load_config(name), Config)


def test_a_file_is_read_as_yaml_reads_it():
    document = Document()
    document.read("default.yaml", default_text())
    assert document.problems == []
    assert document.tree == yaml.safe_load(default_text())


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_give_only_config_errors(seed, tmp_path):
    chance = random.Random(seed)
    text = bytearray(default_text().encode())
    for _ in range(chance.randint(1, 6)):
        spot = chance.randrange(len(text))
        change = chance.randrange(5)
        if change == 0:
            text[spot] = chance.randrange(256)
        elif change == 1:
            del text[spot : spot + chance.randint(1, 40)]
        elif change == 2:
            text[spot:spot] = chance.choice(
                [
                    b"&a ",
                    b"*a ",
                    b"!!int ",
                    b"- ",
                    b": ",
                    b"\t",
                    b"[",
                    b"}",
                    b"<<: ",
                    b"'",
                ]
            )
        elif change == 3:
            text[spot:spot] = text[spot : spot + chance.randint(1, 200)]
        else:
            text[spot:spot] = str(chance.choice([-1, 10**400, "nan", ".inf"])).encode()
    path = tmp_path / "damaged.yaml"
    path.write_bytes(bytes(text))
    try:
        found = load_config(path)
    except ConfigError as error:
        found = str(error)
    lines = found.splitlines() if isinstance(found, str) else []
    assert isinstance(found, Config) or lines
    assert all("damaged.yaml" in line for line in lines)
