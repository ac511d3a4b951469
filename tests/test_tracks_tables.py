"""Tables and options of the sibling tracks: what is read, and what is refused."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import yaml
from tracked import write_table

import merps
from merps.errors import ConfigError, DataError
from merps.tracks.answers import (
    format_answers,
    require_same_rows,
    score_answers,
    write_submission,
)
from merps.tracks.heads import ClipModel
from merps.tracks.options import (
    DataConfig,
    HeadConfig,
    StreamConfig,
    TrackConfig,
    load_track,
)
from merps.tracks.tables import (
    read_candidates,
    read_table,
    read_training,
)

CROSS = [("s1", "happy"), ("s2", "sad"), ("s3", "neutral")]
PREFER = [
    ("s1", "a, quoted", "b", "a1"),
    ("s1", "c", "d", "tie"),
    ("s2", "e", "f", "a2"),
]


def cross(path, rows=CROSS, header=("name", "discrete"), **options):
    table = write_table(path / "t.csv", header, rows)
    return read_training("cross", DataConfig(train=(str(table),), **options))


def prefer(path, rows=PREFER, name="t.csv", **options):
    table = write_table(path / name, ("name", "a1", "a2", "preference"), rows)
    return read_training("prefer", DataConfig(train=(str(table),), **options))


# Tables


def test_rows_keep_their_order_and_may_repeat_a_clip_of_prefer(tmp_path):
    table = prefer(tmp_path)
    assert table.names == table.groups == ("s1", "s1", "s2")
    assert table.labels == ("a1", "same", "a2")
    assert table.pairs[0] == ("a, quoted", "b")
    assert len(table.take([2, 0])) == 2
    assert table.take([2, 0]).labels == ("a2", "a1")


def test_subtitles_and_groups_come_by_name(tmp_path):
    said = write_table(
        tmp_path / "s.csv",
        ("name", "chinese", "english"),
        [("s2", "你好", ""), ("s1", "再见", "bye")],
    )
    who = write_table(
        tmp_path / "g.csv", ("name", "group"), [(f"s{k}", "x") for k in range(4)]
    )
    options = {"subtitles": str(said), "groups": str(who)}
    assert cross(tmp_path, **options).subtitles == ("再见", "你好", "")
    english = cross(tmp_path, language="english", **options)
    assert english.subtitles == ("bye", "", "")
    assert english.groups == ("x", "x", "x")
    who.write_text("name,group\ns1,x\n")
    with pytest.raises(DataError, match="2 clips have no group: s2, s3"):
        cross(tmp_path, **options)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (
            CROSS,
            ("name", "label"),
            "expected the columns name, discrete, found a header",
        ),
        ([*CROSS, ("s4", "anger")], None, "line 5, discrete 'anger': expected one of"),
        ([*CROSS, ("s4", "Happy ")], None, "set data.normalise_labels if only spaces"),
        ([*CROSS, ("s2", "sad")], None, "line 5: clip s2 is in line 3"),
        ([("../s1", "sad")], None, "line 2, name '../s1': not the name of a clip"),
        ([("", "sad")], None, "not the name of a clip"),
        ([], None, "only a header"),
    ],
)
def test_wrong_tables_are_refused_with_the_row(tmp_path, rows, header, message):
    with pytest.raises(DataError) as caught:
        cross(tmp_path, rows, header or ("name", "discrete"))
    assert message in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_all_wrong_rows_are_named_at_once(tmp_path):
    with pytest.raises(DataError, match=r"line 2.*line 3"):
        cross(tmp_path, [("s1", "joy"), ("s2", "fear")])


def test_labels_are_normalized_only_if_asked(tmp_path):
    table = cross(tmp_path, [("s1", "Happy "), ("s2", "SAD")], normalise_labels=True)
    assert table.labels == ("happy", "sad")


def test_rows_without_labels_are_dropped_or_neutral(tmp_path, caplog):
    path = write_table(
        tmp_path / "t.csv", ("name", "openset"), [("a", "[happy, calm]"), ("b", "")]
    )
    found = read_training("fg", DataConfig(train=(str(path),)))
    assert found.names == ("a",)
    assert found.labels == (("happy", "calm"),)
    assert "1 rows without labels are not learned from" in caplog.text
    options = DataConfig(train=(str(path),), empty_openset="neutral")
    assert read_training("fg", options).labels[1] == ("neutral",)


def test_a_clip_of_an_earlier_table_is_left_out_of_later_ones(tmp_path, caplog):
    first = write_table(
        tmp_path / "1.csv", ("name", "openset"), [("a", "x"), ("b", "y")]
    )
    second = write_table(
        tmp_path / "2.csv", ("name", "openset"), [("b", "z"), ("c", "x")]
    )
    table = read_training("fg", DataConfig(train=(str(first), str(second))))
    assert table.names == ("a", "b", "c")
    assert table.labels == (("x",), ("y",), ("x",))
    assert "1 clips are known already" in caplog.text


def test_preferences_are_checked(tmp_path, caplog):
    with pytest.raises(
        DataError, match="preference 'a3': expected one of a1, a2, same"
    ):
        prefer(tmp_path, [("s1", "x", "y", "a3")])
    with pytest.raises(DataError, match=r"1 rows have an empty a1 or a2 \(clips s1\)"):
        prefer(tmp_path, [("s1", " ", "y", "a1")])
    prefer(tmp_path, [PREFER[0], PREFER[0]])
    assert "1 rows come more than once: s1" in caplog.text


def test_tables_that_are_not_named_are_told(tmp_path):
    with pytest.raises(DataError, match=r"data\.train: expected at least one table"):
        read_training("cross", DataConfig())
    with pytest.raises(DataError, match=r"data\.candidates: expected a table of clips"):
        read_candidates("cross", DataConfig())


# Answers


def answers_of(path, text, track="cross"):
    file = path / "answer.csv"
    file.write_text(text)
    return read_table(file, track=track, labeled=True, options=DataConfig())


def test_answers_for_other_rows_are_refused(tmp_path):
    table = cross(tmp_path)
    for text, message in [
        ("s1,sad\ns2,sad\n", r"3 rows are asked for, 2 answered; not answered: s3"),
        ("s1,sad\ns2,sad\ns3,sad\ns9,sad\n", r"not asked for: s9"),
        ("s2,sad\ns1,sad\ns3,sad\n", r"out of order or repeated, from: s1, s2"),
    ]:
        with pytest.raises(DataError, match=message):
            require_same_rows(table, answers_of(tmp_path, f"name,discrete\n{text}"))
    good = answers_of(tmp_path, "name,discrete\ns1,sad\ns2,sad\ns3,sad\n")
    require_same_rows(table, good)


def test_rows_of_prefer_are_told_apart_by_their_texts(tmp_path):
    table = prefer(tmp_path)
    data = format_answers("prefer", table, ["a2", "same", "a1"])
    again = answers_of(tmp_path, data.decode(), "prefer")
    require_same_rows(table, again)
    options = {"wheels": None, "n_resamples": 10, "seed": 0}
    assert score_answers("prefer", table, again, **options).metrics["waf"].value == 0
    with pytest.raises(DataError, match=r"2 rows of .* are not answered: s1, s2"):
        score_answers("prefer", table, again.take([0]), **options)


def test_gold_may_be_a_part_of_the_answers_in_another_order(tmp_path):
    gold = cross(tmp_path, [("s3", "sad"), ("s1", "happy")])
    said = answers_of(tmp_path, "name,discrete\ns1,happy\ns2,sad\ns3,sad\n")
    scored = score_answers("cross", gold, said, wheels=None, n_resamples=10, seed=0)
    assert (scored.n, scored.metrics["accuracy"].value) == (2, 1.0)


def test_equal_answers_give_equal_archives_and_ties_become_a1(tmp_path):
    table = prefer(tmp_path)
    said = ["a2", "same", "a1"]
    first = write_submission(tmp_path, "prefer", table, said, manifest={"seed": 1})
    bytes_of_first = first.read_bytes()
    write_submission(tmp_path, "prefer", table, said, manifest={"seed": 1})
    assert first.read_bytes() == bytes_of_first
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == ["answer.csv"]
        text = archive.read("answer.csv").decode()
    assert text == (
        'name,a1,a2,preference\ns1,"a, quoted",b,a2\ns1,c,d,a1\ns2,e,f,a1\n'
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["seed"] == 1
    assert manifest["answer"]["rows"] == 3


# Options


def write_config(path, text):
    file = path / "config.yaml"
    file.write_text(text)
    return file


def test_paths_count_from_the_file(tmp_path):
    text = (
        "track: cross\ndata: {train: [a.csv], media: [/far, near]}\n"
        "streams: {face: {modality: face, encoder: enc}, "
        "voice: {modality: audio, encoder: egemaps}}\n"
    )
    config = load_track(write_config(tmp_path, text), track="cross")
    assert config.data.train == (str(tmp_path / "a.csv"),)
    assert config.data.media == ("/far", str(tmp_path / "near"))
    assert config.streams["face"].encoder == str(tmp_path / "enc")
    assert config.streams["voice"].encoder == "egemaps"
    assert config.run == str(tmp_path / "run")
    assert config.data.gold is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track: fg\n", "track is fg, not cross; run merps track fg"),
        (
            "track: cross\nstreams: {face: {modality: face, encoder: e, layrs: 2}}\n",
            "line 2: streams.face.layrs: unknown option; did you mean layers?",
        ),
        (
            "track: cross\nstreams: {face: {modality: face}}\n",
            "give either encoder or features",
        ),
        (
            "track: cross\nstreams: {t: {modality: answers, encoder: e}}\n",
            "MER-Prefer needs one stream of the modality answers",
        ),
        (
            "track: cross\nhead: {role: listener}\n"
            "streams: {t: {modality: audio, encoder: e}}\n",
            "a listener is seen in face or video only",
        ),
        (
            "track: cross\nstreams: {t: {modality: text, encoder: egemaps}}\n",
            "egemaps listens to audio, not to text",
        ),
        ("data: {}\n", "track"),
    ],
)
def test_wrong_options_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load_track(write_config(tmp_path, text), track="cross")
    assert message in str(caught.value)


def test_presets_of_merps_are_none_of_a_track():
    with pytest.raises(ConfigError, match="causal: expected a YAML file, found no"):
        load_track(Path("causal"), track="cross")


def test_a_listener_keeps_only_what_is_seen(tmp_path):
    text = (
        "track: cross\nhead: {role: listener}\nstreams: {face: {modality: face, "
        "encoder: e}, v: {modality: audio, encoder: e}, "
        "w: {modality: text, encoder: e}}"
    )
    path = write_config(tmp_path, text)
    assert list(load_track(path, track="cross").used) == ["face"]
    speaker = load_track(path, track="cross", overrides=("head.role=speaker",))
    assert list(speaker.used) == ["face", "v", "w"]


def test_options_of_the_head_are_parameters_of_the_model():
    defaults = ClipModel().get_params()
    options = HeadConfig().model_dump(exclude={"role"})
    assert options == {name: defaults[name] for name in options}
    assert defaults.keys() - options.keys() == {"task", "seed"}


def test_the_page_spells_out_and_explains_every_option():
    page = (Path(merps.__file__).parents[1] / "docs" / "tracks.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(blocks[0]) == TrackConfig(track="cross").model_dump(
        mode="json"
    )
    streams = yaml.safe_load(blocks[1])["streams"]
    told = {name for stream in streams.values() for name in stream}
    assert told == set(StreamConfig.model_fields)
    for stream in streams.values():
        made = StreamConfig(**stream)
        for name in stream.keys() - {"modality", "encoder", "features"}:
            assert getattr(made, name) == StreamConfig.model_fields[name].default
