import json
import re
from time import perf_counter

import broken
import numpy as np
import pytest

from merps.datasets.mer_ps import TrialFailure, open_dataset
from merps.errors import DataError
from merps.inspection import check_dataset

SEVERITIES = ("error", "warning", "note")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return broken.make_folder(tmp_path_factory.mktemp("good") / "data set")


def read_all(root):
    """Return the messages of all failures, and the people without one."""
    try:
        dataset = open_dataset(root)
    except DataError as error:
        return [str(error)], ()
    messages, whole = [], []
    for person in dataset.people:
        items = list(dataset.trials(person))
        failed = [item for item in items if isinstance(item, TrialFailure)]
        messages += [item.message for item in failed]
        if not failed and items:
            whole.append(person)
    return messages, tuple(whole)


def test_a_good_folder_has_no_problem(good):
    result = check_dataset(good)
    assert result.as_dict() == {"people": 2, "trials": 6, "problems": []}


@pytest.mark.parametrize("name", broken.MUTATIONS)
def test_broken_folder_gives_one_clear_message(good, tmp_path, name):
    root = broken.break_copy(good, tmp_path / "folder", name)
    result = check_dataset(root)
    failures, whole = read_all(root)
    assert whole == broken.GOOD_PEOPLE[name]
    worst = [s for s in SEVERITIES if any(p.severity == s for p in result.problems)]
    assert (worst or [None])[0] == broken.SEVERITY[name]
    problems = [p.message for p in result.problems if p.severity == worst[0]]
    messages = problems if worst else failures
    matching = [text for text in messages if re.search(broken.MESSAGES[name], text)]
    assert len(matching) == 1, messages
    # Whatever is an error is told once, and reading tells the same as checking.
    assert len(messages) == 1, messages
    told = {p.message for p in result.problems if p.severity == "error"}
    if worst and result.people:
        assert set(failures) <= told


def test_broken_folders_are_all_described():
    assert len(broken.MUTATIONS) >= 20
    assert broken.MUTATIONS.keys() == broken.MESSAGES.keys()
    assert broken.MUTATIONS.keys() == broken.SEVERITY.keys()
    assert broken.MUTATIONS.keys() == broken.GOOD_PEOPLE.keys()


def test_several_faults_come_at_once(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "truncated_mat")
    names = ("label_out_of_range", "duplicate_ids", "duplicate_reservations")
    for name in names:
        broken.MUTATIONS[name](root)
    messages = "\n".join(problem.message for problem in check_dataset(root).problems)
    for name in ("truncated_mat", *names):
        assert re.search(broken.MESSAGES[name], messages)


def test_the_result_is_json(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "label_nan")
    tree = json.loads(json.dumps(check_dataset(root).as_dict()))
    assert tree.keys() == {"people", "trials", "problems"}
    assert tree["people"] == 2
    assert tree["trials"] == 6
    assert [set(problem) for problem in tree["problems"]] == [
        {"severity", "where", "message"}
    ]
    assert tree["problems"][0]["where"] == "test_2 V02"


def test_trials_that_cannot_be_used_are_not_counted(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "labels_3_s_longer")
    assert check_dataset(root).trials == 5


def test_targets_that_disagree_with_labels(tmp_path):
    root = broken.make_folder(
        tmp_path, people=("predict1",), ids=True, targets=True, simulated=False
    )
    expected = "everybody lacks V04, V05, V06, V07, V08 and 7 more"
    assert [p.message for p in check_dataset(root).problems] == [expected]

    def change(lines):
        head, first, second, *rest = lines
        name, valence, _ = first.split(",")
        other = 1 if float(valence) > 1 else 2
        return [head, second, f"{name},{other},7", *rest]

    broken.edit_lines(root / "targets.csv", change)
    messages = [p.message for p in check_dataset(root).problems]
    assert messages[0] == "ids are in another order than sample_ids.csv"
    assert messages[1] == (
        "1 ratings are not those of the label files: predict1_V01_T000"
    )
    broken.edit_lines(root / "targets.csv", lambda lines: lines[:-2])
    messages = [p.message for p in check_dataset(root).problems]
    assert messages[0] == "ids are not those of sample_ids.csv"
    assert messages[2] == (
        "2 labels are not in it: predict1_V03_T006, predict1_V03_T007"
    )


def test_ids_and_labels_of_other_lengths(tmp_path):
    root = broken.make_folder(tmp_path, ids=True)
    broken.edit_lines(
        root / "sample_ids.csv",
        lambda lines: [*lines[:-1], "test_2_V07_T000"],
    )
    found = [(p.severity, p.message) for p in check_dataset(root).problems]
    assert found == [
        ("warning", "asks for test_2 V07: no recordings"),
        ("error", "test_2 V03: 7 ids, 8 labels"),
    ]


def test_absent_videos_and_strange_variables_are_notes(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "missing_key")

    def rename(arrays):
        arrays["vid"] = arrays.pop("video_3")

    for name in ("fNIRS_videos", "EEG_videos"):
        broken.edit_mat(broken.file_of(root, name), rename)
    found = {(p.severity, p.where, p.message) for p in check_dataset(root).problems}
    strange = "which is none of video_1, video_2 ..., and is ignored"
    assert found == {
        ("note", "test_2", f"EEG_videos.mat holds 'vid', {strange}"),
        ("note", "test_2", f"fNIRS_videos.mat holds 'vid', {strange}"),
        ("note", "test_2", "labels but no recordings for V03"),
        ("note", "test_2", "lacks V03, which others have"),
        ("note", "test_2 V02", "no EEG, EEG_videos.mat lacks video_2"),
    }


def test_a_person_at_two_rates_is_odd(good, tmp_path):
    root = broken.break_copy(good, tmp_path / "folder", "missing_key")
    broken.edit_mat(
        broken.file_of(root, "EEG_videos"),
        lambda arrays: arrays.update(video_1=np.repeat(arrays["video_1"], 5, axis=1)),
    )
    found = [(p.severity, p.message) for p in check_dataset(root).problems]
    assert ("warning", "EEG at 200 Hz and 1000 Hz") in found


def test_checking_reads_no_signals(good, monkeypatch):
    from merps.readers.mat5 import MatFile

    names = []

    def watch(reader):
        def call(self, name):
            names.append(self.path.name)
            return reader(self, name)

        return call

    for way in ("read", "view"):
        monkeypatch.setattr(MatFile, way, watch(getattr(MatFile, way)))
    start = perf_counter()
    check_dataset(good)
    assert perf_counter() - start < 2
    assert set(names) == {"test_1_label.mat", "test_2_label.mat"}
