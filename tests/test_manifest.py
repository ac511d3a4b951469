import hashlib
from pathlib import Path

import pytest
import yaml

from merps import shipped
from merps.datasets.manifest import Fact, load_manifest
from merps.errors import DataError

ROOT_FILE = Path(__file__).parents[1] / "data_manifest.yaml"
KEYS = ("mer-ps-trainval", "mer-ps-leaderboard", "mer2026", "refed", "simulated")


@pytest.fixture
def tree():
    return yaml.safe_load(ROOT_FILE.read_text())


def load(tree, path):
    path.write_text(yaml.safe_dump(tree))
    return load_manifest(path)


def test_every_source_is_there_with_role_and_terms():
    manifest = load_manifest()
    assert set(KEYS) < manifest.sources.keys()
    assert manifest.digest == hashlib.sha256(ROOT_FILE.read_bytes()).hexdigest()
    roles = {key: source.role for key, source in manifest.sources.items()}
    assert roles.pop("mer-ps-leaderboard") == "eval-only"
    assert set(roles.values()) == {"train"}
    shareable = [key for key, s in manifest.sources.items() if s.shareable]
    assert shareable == ["simulated"]
    assert manifest.sources["mer2026"].license == Fact("CC BY-NC 4.0", "stated")
    assert manifest.sources["refed"].license == Fact(None, "unknown")
    access = manifest.sources["mer-ps-trainval"].access.value
    assert "MER-PS/MER-PS-trainval" in access


def test_published_numbers_agree_with_each_other():
    facts = load_manifest().sources["mer-ps-trainval"].facts
    seconds = facts["seconds per video"].value
    assert len(seconds) == 15
    assert sum(seconds) == 1536
    assert sum(seconds) * 24 == int(facts["seconds"].value.split(",")[0])


def test_no_address_and_no_digest_is_made_up():
    text = ROOT_FILE.read_text()
    assert "http" not in text
    assert all(not source.sha256 for source in load_manifest().sources.values())


def test_the_wheel_finds_its_own_copy(tmp_path, monkeypatch):
    package = tmp_path / "merps"
    package.mkdir()
    text = ROOT_FILE.read_text() + "# in the wheel\n"
    (package / "data_manifest.yaml").write_text(text)
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    load_manifest.cache_clear()
    try:
        assert load_manifest().digest == hashlib.sha256(text.encode()).hexdigest()
    finally:
        load_manifest.cache_clear()


def test_digests_of_a_lab_are_kept(tree, tmp_path):
    tree["sources"]["refed"]["sha256"] = {"a.zip": "0" * 64}
    assert load(tree, tmp_path / "m.yaml").sources["refed"].sha256 == {
        "a.zip": "0" * 64
    }


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("terms"), "refed: lacks terms"),
        (lambda s: s.update(licence={}), "refed: unknown key licence"),
        (lambda s: s.update(shareable="no"), "shareable has the wrong type, str"),
        (lambda s: s.update(role="test"), "role must be one of train, eval-only"),
        (lambda s: s.update(layout="x"), "layout must be one of"),
        (lambda s: s.update(terms=[]), "terms must be sentences"),
        (lambda s: s.update(terms=[1]), "terms must be sentences"),
        (lambda s: s.update(archives=[1]), "archives must be names"),
        (lambda s: s.update(sha256={"a": "12"}), "64 hexadecimal digits"),
        (lambda s: s["facts"].update(x=3), "x needs exactly value and basis"),
        (lambda s: s["access"].update(basis="heard"), "access needs exactly value and"),
    ],
)
def test_other_forms_are_refused(tree, tmp_path, edit, message):
    edit(tree["sources"]["refed"])
    with pytest.raises(DataError, match=message):
        load(tree, tmp_path / "m.yaml")


def test_all_problems_come_at_once(tree, tmp_path):
    tree["sources"]["refed"].pop("role")
    tree["sources"]["Bad Key"] = 3
    tree["sources"]["short"] = 3
    with pytest.raises(DataError) as error:
        load(tree, tmp_path / "m.yaml")
    message = str(error.value)
    assert "refed: lacks role" in message
    assert "Bad Key: the name of a source" in message
    assert "short: expected a mapping" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "exactly the keys version and sources"),
        ("{version: 2, sources: {}}", "expected version 1"),
        ("a: [", "not readable as YAML"),
        ("!!python/object/apply:os.getcwd []", "not readable as YAML"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_manifest(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_manifest(tmp_path / "absent.yaml")
