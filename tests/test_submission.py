import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import broken
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import merps
from merps.cli.session import Session
from merps.cli.tables import tell_bundle
from merps.config import load_config
from merps.errors import DataError, InputError, SpaceError
from merps.models.persistence import describe_saved
from merps.pipeline import evaluate_model, fit_model, predict_dataset
from merps.pipeline.models import MODELS
from merps.predictions import read_predictions, read_sample_ids
from merps.submission import archive, check, model
from merps.submission import bundle as writer
from merps.submission.archive import pack, unpack
from merps.submission.check import check_bundle

ROOT = Path(merps.__file__).parents[1]


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    """The submission of the fusion, as written and checked with simulated people."""
    return writer.write_bundle(run, tmp_path_factory.mktemp("bundle") / "a" / "b.zip")


@pytest.fixture(scope="module")
def unpacked(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(bundle.path, folder)
    return folder


@pytest.fixture
def unchecked(bundle, monkeypatch):
    """Let every submission pass, to look at what is written."""
    monkeypatch.setattr(writer, "check_bundle", lambda *_, **__: bundle)


def content_of(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def manifest_of(path):
    return json.loads(content_of(path)["manifest.json"])


# What is in it


def test_the_root_holds_what_the_challenge_asks_for(bundle, run):
    content = content_of(bundle.path)
    tops = {name.split("/")[0] for name in content}
    assert tops == {"model.py", "merps", "run", "requirements.txt", "manifest.json"}
    assert {n for n in content if n.startswith("run/")} == {
        *("run/model.json", "run/weights.safetensors"),
        *("run/config.yaml", "run/run.json"),
    }
    for name in ("model.json", "weights.safetensors", "config.yaml", "run.json"):
        assert content[f"run/{name}"] == (run / name).read_bytes()
    for path in (ROOT / "merps").rglob("*.py"):
        assert content[path.relative_to(ROOT).as_posix()] == path.read_bytes()
    for path in (ROOT / "configs").glob("*.yaml"):
        assert content[f"merps/configs/{path.name}"] == path.read_bytes()
    for name in ("data_manifest.yaml", "LICENSE"):
        assert content[f"merps/{name}"] == (ROOT / name).read_bytes()
    assert not [name for name in content if "__pycache__" in name]


def test_the_manifest_says_what_is_in_it_and_under_which_terms(bundle, run):
    content = content_of(bundle.path)
    manifest = manifest_of(bundle.path)
    assert manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in content.items()
        if name != "manifest.json"
    }
    assert manifest["model"] == "fusion"
    assert (
        manifest["terms"] == json.loads((run / "run.json").read_text())["data"]["terms"]
    )
    _, contains = describe_saved(run)
    assert tuple(manifest["contains"]) == contains
    assert any("medians" in text for text in contains)
    assert manifest["warning"] is None


def test_terms_are_those_that_are_sealed_with_the_model(
    run, bundle, tmp_path, unchecked
):
    edited = shutil.copytree(run, tmp_path / "run")
    text = (edited / "run.json").read_text().replace(bundle.terms, "take it all")
    (edited / "run.json").write_text(text)
    assert "take it all" in text
    writer.write_bundle(edited, tmp_path / "s.zip")
    assert manifest_of(tmp_path / "s.zip")["terms"] == bundle.terms


def test_the_result_tells_of_the_file_and_of_its_check(bundle):
    data = bundle.path.read_bytes()
    assert (bundle.bytes, bundle.files) == (len(data), len(content_of(bundle.path)))
    assert bundle.sha256 == hashlib.sha256(data).hexdigest()
    assert (bundle.simulated, bundle.samples) == (True, 3 * 21 + 5)
    assert bundle.merps == "merps/__init__.py"
    assert 0 < bundle.seconds < 600
    assert 50 < bundle.peak_mb < 2000
    told = bundle.as_dict()
    assert json.loads(json.dumps(told))["path"] == str(bundle.path)
    assert bundle.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in bundle.path.parent.iterdir()] == ["b.zip"]


def test_terms_and_contents_are_told(bundle, capsys):
    session = Session(as_json=False, quiet=False, debug=False)
    tell_bundle(session, bundle)
    told = capsys.readouterr().out
    for text in (bundle.sha256, bundle.terms, *bundle.contains, "to the last digit"):
        assert text in told


def test_the_same_run_gives_the_same_bytes(
    bundle, run, tmp_path, monkeypatch, unchecked
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "elsewhere")  # with other times
    writer.write_bundle("elsewhere", "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.path.read_bytes()
    assert str(run).encode() not in bundle.path.read_bytes()


def test_archives_have_no_time_no_owner_and_one_order():
    files = {"b/x.py": b"1", "a.txt": b"2" * 99, "b.txt": b""}
    packed = pack(files)
    assert packed == pack(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        entries = file.infolist()
        assert file.testzip() is None
    assert [entry.filename for entry in entries] == sorted(files)
    for entry in entries:
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
        assert entry.compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize(
    ("classes", "with_nets"),
    [(("constant",), False), (("fusion", "video"), False), (("convolutional",), True)],
)
def test_only_models_that_need_torch_ask_for_it(
    run, tmp_path, monkeypatch, unchecked, classes, with_nets
):
    monkeypatch.setattr(writer, "describe_saved", lambda _: (classes, ("x",)))
    writer.write_bundle(run, tmp_path / "s.zip")
    lines = content_of(tmp_path / "s.zip")["requirements.txt"].decode().splitlines()
    assert lines == sorted(lines)
    names = [re.fullmatch(r"([a-z0-9-]+)==[0-9.]+", line)[1] for line in lines]
    assert ("torch" in names, "braindecode" in names) == (with_nets, with_nets)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {re.match("[a-z0-9-]+", text)[0] for text in project["dependencies"]}
    assert set(names) <= known


def test_a_model_inside_another_one_counts(store, tmp_path, unchecked):
    config = load_config(None, ["model.alphas=[1]", "model.lags.eeg_s=[0,1]"])
    fit_model(store, tmp_path / "run", model="bandpower", config=config)
    writer.write_bundle(tmp_path / "run", tmp_path / "s.zip")
    assert manifest_of(tmp_path / "s.zip")["classes"] == ["bandpower", "lags", "ridge"]


# What is refused, and what is not published


def test_an_evaluation_is_refused(noise_store, tmp_path):
    evaluate_model(noise_store, tmp_path / "run", models=[], protocols=["videos"])
    with pytest.raises(InputError, match="is an evaluation and holds no model"):
        writer.write_bundle(tmp_path / "run", tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_a_damaged_run_is_refused(run, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    with open(damaged / "weights.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"weights.safetensors: expected the file"):
        writer.write_bundle(damaged, tmp_path / "s.zip")
    (damaged / "model.json").unlink()
    with pytest.raises(DataError, match=r"model.json: cannot be read"):
        writer.write_bundle(damaged, tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_a_file_that_is_there_stays_unless_told(run, tmp_path, unchecked):
    out = tmp_path / "s.zip"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists; pass --overwrite"):
        writer.write_bundle(run, out)
    with pytest.raises(InputError, match="is a folder; name the zip file"):
        writer.write_bundle(run, tmp_path, overwrite=True)
    assert out.read_text() == "mine"
    writer.write_bundle(run, out, overwrite=True)
    assert zipfile.is_zipfile(out)


def test_a_file_that_comes_meanwhile_stays_too(run, bundle, tmp_path, monkeypatch):
    out = tmp_path / "s.zip"

    def check_slowly(*_, **__):
        out.write_text("theirs")
        return bundle

    monkeypatch.setattr(writer, "check_bundle", check_slowly)
    with pytest.raises(InputError, match="by somebody else"):
        writer.write_bundle(run, out)
    assert out.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["s.zip"]


def test_who_may_not_be_fitted_on_is_told_ever_after(
    reserved, tmp_path, unchecked, capsys, bundle
):
    fit_model(reserved, tmp_path / "run", model="constant", allow_eval_only=True)
    writer.write_bundle(tmp_path / "run", tmp_path / "s.zip")
    warning = manifest_of(tmp_path / "s.zip")["warning"]
    assert warning == "fitted on people who are meant for evaluation only"
    session = Session(as_json=False, quiet=False, debug=False)
    tell_bundle(session, replace(bundle, warning=warning))
    assert warning in capsys.readouterr().err


def test_a_submission_that_lacks_a_requirement_is_not_published(
    run, newcomers, tmp_path, monkeypatch
):
    fewer = [name for name in writer._LIBRARIES if name != "scikit-learn"]
    monkeypatch.setattr(writer, "_LIBRARIES", fewer)
    with pytest.raises(DataError, match=r"s.zip: .* No module named 'sklearn'"):
        writer.write_bundle(run, tmp_path / "s.zip", data=newcomers)
    assert os.listdir(tmp_path) == []


# Run by strangers


STRANGER = """
    import importlib.util, sys
    import merps
    assert merps.__doc__ == "another one"
    bundle, *pairs = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("model", f"{bundle}/model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    before = list(sys.path), sys.dont_write_bytecode
    while pairs:
        model.predict(pairs.pop(0), pairs.pop(0))
    assert (sys.path, sys.dont_write_bytecode) == before
    assert sys.modules["merps"] is merps
    assert not [name for name in sys.modules if name.startswith("merps.")]
"""


def run_by_a_stranger(folder, bundle, *pairs, **environment):
    """Run a submission where another merps is installed, and there is no home."""
    for name in ("installed", "tmp", "work"):
        (folder / name).mkdir()
    (folder / "installed" / "merps.py").write_text('"""another one"""\n')
    places = [str(folder / "installed"), *(place for place in sys.path if place)]
    code = f"import sys; sys.path[:] = {places!r}\n{textwrap.dedent(STRANGER)}"
    variables = {n: v for n, v in os.environ.items() if n not in ("HOME", "PYTHONPATH")}
    ran = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, bundle, *pairs],
        env=variables | {"TMPDIR": str(folder / "tmp")} | environment,
        cwd=folder / "work",
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert not os.listdir(folder / "tmp")
    assert not os.listdir(folder / "work")
    return ran.stderr.splitlines()


def test_strangers_get_the_answers_of_merps_predict(run, unpacked, newcomers, tmp_path):
    """Of two unseen people, one has no fNIRS, and one lacks a video."""
    data = shutil.copytree(newcomers, tmp_path / "data")
    shutil.rmtree(data / "annotations")
    (data / "targets.csv").unlink()
    for name in ("fNIRS_videos.mat", "fNIRS_baselines.mat"):
        (data / "data" / "predict1" / name).unlink()
    for name in ("EEG_videos", "fNIRS_videos"):
        path = data / "data" / "predict2" / f"{name}.mat"
        broken.edit_mat(path, lambda arrays: arrays.pop("video_3"))
    without_ids = shutil.copytree(data, tmp_path / "without ids")
    (without_ids / "sample_ids.csv").unlink()
    before = {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")}

    lines = run_by_a_stranger(
        tmp_path,
        *(unpacked, data, tmp_path / "out", without_ids, tmp_path / "a" / "b"),
        OMP_NUM_THREADS="3",
    )

    assert {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")} == before
    assert os.listdir(tmp_path / "out") == os.listdir(tmp_path / "a" / "b")
    answers = (tmp_path / "out" / "predictions.csv").read_bytes()
    expected = tmp_path / "expected.csv"
    predict_dataset(run, data, expected, jobs=1)
    assert answers == expected.read_bytes()
    ids, values = read_predictions(tmp_path / "out" / "predictions.csv")
    assert ids == read_sample_ids(data / "sample_ids.csv")
    assert np.all((values >= 1) & (values <= 255) & (values == np.round(values)))
    there = read_predictions(tmp_path / "a" / "b" / "predictions.csv")[0]
    assert there == [text for text in ids if not text.startswith("predict2_V03")]
    told = (
        f"INFO merps {merps.__version__} from {unpacked}",
        "INFO never seen in training: predict1, predict2",
        f"INFO {data} has no labels; none are needed",
        "WARNING predict1: no fNIRS, fNIRS_videos.mat is absent (V01, V02, V03)",
        "INFO predict2 V03: no signal that the model uses in 8 s, answered without",
        "INFO 42 ids answered, 8 of them without any signal that the model uses",
    )
    for line in told:
        assert lines[: lines.index(told[-1]) + 1].count(line) == 1, lines


def test_a_merps_that_pushes_in_is_refused(unpacked, tmp_path):
    (tmp_path / "merps.py").write_text("")
    code = f"""
        import importlib.machinery, importlib.util, sys
        class Pushy(importlib.machinery.PathFinder):
            def find_spec(self, name, path=None, target=None):
                own = [{str(tmp_path)!r}] if name == "merps" else path
                return super().find_spec(name, own, target)
        sys.meta_path.insert(0, Pushy())
        spec = importlib.util.spec_from_file_location("model", sys.argv[1])
        model = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(model)
        model.predict(sys.argv[2], sys.argv[2])
    """
    command = [sys.executable, "-B", "-c", textwrap.dedent(code)]
    ran = subprocess.run(
        [*command, unpacked / "model.py", tmp_path], capture_output=True, text=True
    )
    assert f"merps was imported from {tmp_path}/merps.py, not from" in ran.stderr


def test_signals_go_where_there_is_room(tmp_path, monkeypatch):
    source, usual, target = (tmp_path / name for name in ("source", "usual", "target"))
    for folder in (source, usual, target):
        folder.mkdir()
    (source / "recording.mat").write_bytes(bytes(1000))
    free = {usual: 1001, target: 5000}
    monkeypatch.setattr(tempfile, "tempdir", str(usual))
    monkeypatch.setattr(
        model.shutil, "disk_usage", lambda place: SimpleNamespace(free=free[place])
    )
    assert model._roomy(source, target) == usual
    free[usual] = 1000
    assert model._roomy(source, target) == target
    free[target] = 999
    assert model._roomy(source, target) == usual

    def nowhere():
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert model._roomy(source, target) == target


# Others that pass for one


def forge(path, code):
    """Write a submission with another model.py in it."""
    files = {"model.py": textwrap.dedent(code).encode(), "requirements.txt": b"numpy"}
    manifest = {"model": "m", "terms": "t", "contains": [], "requirements": []}
    manifest |= {"warning": None}
    digests = {n: {"sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    content = json.dumps({**manifest, "files": digests}).encode()
    path.write_bytes(pack({**files, "manifest.json": content}))
    return path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import matplotlib", "No module named 'matplotlib'"),
        ("import merps", "No module named 'merps'"),
        ("import numpy; raise ValueError('numpy is there')", "numpy is there"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "no network"),
        ("import os; os._exit(0)", "ends with no result"),
        ("import os; os.kill(os.getpid(), 9)", "ends with signal 9, .* are: none"),
        ("import os; assert 'HOME' in os.environ", "AssertionError"),
    ],
)
def test_what_cannot_run_alone_is_refused(newcomers, tmp_path, body, message):
    code = f"def predict(input_dir, output_dir):\n    {body}\n"
    path = forge(tmp_path / "s.zip", code)
    with pytest.raises(DataError, match=rf"(?s)s\.zip: .*{message}"):
        check_bundle(path, newcomers)


GOOD = ["predict1_V01_T000,1,255", "predict1_V01_T001,128,128"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "ends without predictions.csv"),
        (GOOD[:1], "1 ids are not answered: predict1_V01_T001"),
        ([*GOOD, "predict1_V01_T002,1,1"], "1 ids are not asked for"),
        ([*GOOD, GOOD[0]], "1 ids come more than once"),
        (
            [GOOD[0], "predict1_V01_T001,nan,1"],
            r"1 rows are not two numbers in 1\.\.255",
        ),
        (
            [GOOD[0], "predict1_V01_T001,256,1"],
            r"1 rows are not two numbers in 1\.\.255",
        ),
        ([GOOD[0], "predict1_V01_T001,127.5,128"], "expected whole numbers"),
        ([GOOD[0], "predict1_V01_T001,128,127"], "1 answers are not those of merps"),
        ([GOOD[0], "predict1_V01_T001,128.0,128"], "written differently"),
        (GOOD[::-1], "written differently"),
    ],
)
def test_wrong_answers_are_refused(tmp_path, monkeypatch, lines, message):
    with pytest.raises(DataError, match=rf"s\.zip: .*{message}"):
        checked(tmp_path, monkeypatch, lines)


@pytest.mark.parametrize("place", ["out/x", "bundle/x", "tmp/x", "elsewhere/x"])
def test_what_is_left_behind_is_refused(tmp_path, monkeypatch, place):
    with pytest.raises(DataError, match=f"s.zip: it leaves {place} behind"):
        checked(tmp_path, monkeypatch, GOOD, left=place)


def test_good_answers_pass(tmp_path, monkeypatch):
    result = checked(tmp_path, monkeypatch, GOOD)
    assert (result.samples, result.simulated, result.seconds) == (2, False, 1.0)


def checked(folder, monkeypatch, lines, *, left=None):
    """Check a submission that is said to have answered with these lines."""

    def text(rows):
        return "".join(f"{line}\n" for line in ("sample_id,valence,arousal", *rows))

    def run_alone(path, data, folders):
        root = folders["bundle"].parent
        if left:
            (root / left).write_text("x")
        if lines is not None:
            (root / "out" / "predictions.csv").write_text(text(lines))
        return {"seconds": 1.0, "peak_mb": 2.0, "merps": root / "bundle" / "merps.py"}

    def predict(run, data, out, *, jobs):
        out.write_text(text(GOOD))

    data = folder / "data"
    (data / "data" / "predict1").mkdir(parents=True)
    ids = ["sample_id", *(line.split(",")[0] for line in GOOD)]
    broken.write_lines(data / "sample_ids.csv", ids)
    monkeypatch.setattr(check, "_run_alone", run_alone)
    monkeypatch.setattr(check, "predict_dataset", predict)
    return check_bundle(forge(folder / "s.zip", "x = 1"), data)


def test_files_that_are_not_those_of_the_manifest_are_refused(tmp_path):
    path = forge(tmp_path / "s.zip", "x = 1")
    content = content_of(path)
    for change, message in (
        ({"model.py": b"y = 2"}, r"others: model.py"),
        ({"extra.py": b""}, r"others: extra.py"),
        ({"requirements.txt": None}, r"others: requirements.txt"),
        ({"manifest.json": None}, r"expected a submission with its manifest.json"),
        ({"manifest.json": b"{}"}, r"expected a submission with its manifest.json"),
        ({"manifest.json": b"["}, r"expected a submission with its manifest.json"),
    ):
        files = {n: d for n, d in (content | change).items() if d is not None}
        path.write_bytes(pack(files))
        with pytest.raises(DataError, match=message):
            check_bundle(path, tmp_path)


# Hostile zip files


def zipped(path, *entries, compression=zipfile.ZIP_DEFLATED):
    """Write entries of (name, content, mode) as they are."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # unlike the constructor, this changes nothing in it
            info.external_attr = mode << 16
            info.compress_type = compression
            file.writestr(info, content)
    return path


PLAIN = stat.S_IFREG | 0o644
NAMES = {
    "up": "../x",
    "up inside": "a/../../x",
    "absolute": "/tmp/x",
    "dot": "./x",
    "empty part": "a//x",
    "backslash": "a\\..\\x",
    "drive": "C:x",
    "hidden": ".bashrc",
    "space": "a b",
    "other letters": "\u202ex",
    "device": "merps/NUL.py",
    "port": "com1",
    "ends with a dot": "a./x",
    "long": "x" * 201,
    "folder": "a/",
}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    "entries",
    [
        *(pytest.param([(name, b"1", PLAIN)], id=key) for key, name in NAMES.items()),
        pytest.param([("a", b"/etc/passwd", stat.S_IFLNK | 0o777)], id="link"),
        pytest.param([("a", b"", stat.S_IFIFO | 0o644)], id="pipe"),
        pytest.param([("a", b"", stat.S_IFCHR | 0o644)], id="character device"),
        pytest.param([("a", b"1", PLAIN), ("a", b"2", PLAIN)], id="twice"),
        pytest.param([("a", b"1", PLAIN), ("A", b"2", PLAIN)], id="twice by case"),
        pytest.param([("a", b"1", PLAIN), ("a/b", b"2", PLAIN)], id="file and folder"),
        pytest.param([("bomb", bytes(10**7), PLAIN)], id="bomb"),
        pytest.param([(f"f{k}", b"", PLAIN) for k in range(5001)], id="too many"),
    ],
)
def test_hostile_entries_cost_the_whole_file(tmp_path, entries):
    path = zipped(tmp_path / "s.zip", ("good.py", b"x", PLAIN), *entries)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match=r"s\.zip: "):
        unpack(path, target)
    assert sorted(os.listdir(tmp_path)) == ["s.zip", "target"]
    assert os.listdir(target) == []


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, compression):
    path = zipped(tmp_path / "s.zip", ("a", b"1", PLAIN), compression=compression)
    with pytest.raises(DataError, match="compressed in an unusual way"):
        unpack(path, tmp_path / "target")


def test_what_a_person_zips_again_is_fine(tmp_path):
    path = zipped(tmp_path / "s.zip", ("a/b.py", b"1" * 50, 0), ("c", b"2", 0o100777))
    target = tmp_path / "target"
    target.mkdir()
    assert unpack(path, target) == ("a/b.py", "c")
    assert (target / "a" / "b.py").read_bytes() == b"1" * 50
    assert (target / "c").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_no_fault_of_the_file(tmp_path):
    path = zipped(tmp_path / "s.zip", ("a", bytes(3000), PLAIN))
    (tmp_path / "target").mkdir()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(SpaceError, match="target: cannot write"):
            unpack(path, tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, former)


def edited(path, edit):
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)


def test_sizes_that_are_not_true_are_found(tmp_path):
    """The size in the directory at the end is what limits were checked against."""
    path = zipped(tmp_path / "s.zip", ("a", bytes(5000) + b"x" * 5000, PLAIN))

    def shrink(content):
        entry = content.rindex(b"PK\x01\x02")
        content[entry + 24 : entry + 28] = (100).to_bytes(4, "little")

    edited(path, shrink)
    (tmp_path / "target").mkdir()
    with pytest.raises(DataError, match=r"s\.zip: expected a whole zip file"):
        unpack(path, tmp_path / "target")


def test_overlapping_files_are_refused(tmp_path):
    data = os.urandom(1000)
    path = zipped(tmp_path / "s.zip", ("a", data, PLAIN), ("b", data, PLAIN))

    def overlap(content):
        first = content.index(b"PK\x01\x02")
        second = content.index(b"PK\x01\x02", first + 4)
        content[second + 42 : second + 46] = bytes(4)  # where the first one begins

    edited(path, overlap)
    (tmp_path / "target").mkdir()
    with pytest.raises(DataError):
        unpack(path, tmp_path / "target")


def test_encrypted_files_are_refused(tmp_path):
    path = zipped(tmp_path / "s.zip", ("a", b"1", PLAIN))

    def mark(content):
        content[content.rindex(b"PK\x01\x02") + 8] |= 1

    edited(path, mark)
    with pytest.raises(DataError, match="'a' is encrypted"):
        unpack(path, tmp_path / "target")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(17)])
def test_what_is_no_zip_file_is_refused(tmp_path, content):
    path = tmp_path / "s.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"s\.zip: expected a whole zip file"):
        unpack(path, tmp_path)
    with pytest.raises(DataError, match=r"none\.zip: expected a whole zip file"):
        unpack(tmp_path / "none.zip", tmp_path)


parts = st.one_of(
    st.sampled_from(["..", ".", "", "a", "A", "nul", "b.py", "\\", "C:", "é", "\x00"]),
    st.text(max_size=4),
)
entries = st.tuples(
    st.lists(parts, min_size=1, max_size=4).map("/".join),
    st.binary(max_size=20),
    st.sampled_from([PLAIN, 0, stat.S_IFLNK | 0o777, stat.S_IFDIR, 0o104755]),
)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@settings(max_examples=50)
@given(made=st.lists(entries, max_size=4))
def test_made_up_archives_write_nothing_outside(tmp_path_factory, made):
    root = tmp_path_factory.mktemp("made")
    path, target = root / "s.zip", root / "deep" / "target"
    target.mkdir(parents=True)
    try:
        zipped(path, *made)
    except (ValueError, UnicodeEncodeError):
        return  # not even a zip file
    try:
        names = unpack(path, target)
    except DataError:
        names = ()
        assert os.listdir(target) == []
    inside = {
        p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()
    }
    assert inside == set(names)
    assert not [p for p in root.rglob("*") if p.is_symlink()]
    outside = {p.name for p in root.iterdir()} | {
        p.name for p in (root / "deep").iterdir()
    }
    assert outside == {"s.zip", "deep", "target"}
    shutil.rmtree(root)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=3))
@example([(249, 1)])  # an entry that begins before the file does
def test_flipped_bytes_are_found_or_do_no_harm(tmp_path_factory, flips):
    root = tmp_path_factory.mktemp("flipped")
    content = bytearray(pack({"a/b.py": b"x = 1\n" * 9, "c.txt": b"words"}))
    for place, bits in flips:
        content[place % len(content)] ^= bits
    (root / "s.zip").write_bytes(content)
    (root / "target").mkdir()
    try:
        for name in unpack(root / "s.zip", root / "target"):
            assert archive._NAME.fullmatch(name)
    except DataError:
        pass
    assert sorted(os.listdir(root)) == ["s.zip", "target"]
    shutil.rmtree(root)


# Every kind of model


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_can_be_submitted(store, tmp_path, name):
    config = load_config(
        None,
        [
            "model.alphas=[1]",
            "model.convolutional.epochs=1",
            "model.convolutional.sequence_s=4",
            "model.convolutional.net_options={n_filters_time: 2, n_filters_spat: 2}",
        ],
    )
    fit_model(store, tmp_path / "run", model=name, config=config)
    result = writer.write_bundle(tmp_path / "run", tmp_path / "s.zip")
    needs_torch = any(text.startswith("torch==") for text in result.requirements)
    assert needs_torch == (name == "convolutional")
    assert (result.model, result.samples) == (name, 68)
