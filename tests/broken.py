"""A tiny good folder of MER-PS, and many ways to break it.

`make_folder(root)` builds the good one; `MUTATIONS[name](root)` breaks a copy of it;
`MESSAGES[name]` is a pattern that the one clear message must hold; `GOOD_PEOPLE[name]`
names those without any failure.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat

PEOPLE = ("test_1", "test_2")
SECONDS = {"video_1": 6, "video_2": 7, "video_3": 8}
RATE_HZ = 200
FILES = ("EEG_videos", "EEG_baselines", "fNIRS_videos", "fNIRS_baselines")


def fnirs_samples(seconds):
    return int(np.floor(seconds * 1000 / 21)) + 1


def make_folder(
    root,
    *,
    people=PEOPLE,
    rate_hz=RATE_HZ,
    labels=True,
    ids=False,
    targets=False,
    reservations=True,
    simulated=True,
    seed=0,
):
    """Build a small folder without any problem."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in people:
        folder = root / "data" / person
        folder.mkdir(parents=True)
        ratings = {}
        eeg, fnirs, eeg_rest, fnirs_rest = {}, {}, {}, {}
        for key, seconds in SECONDS.items():
            eeg[key] = 20 * rng.normal(size=(64, seconds * rate_hz))
            fnirs[key] = rng.normal(size=(6, 51, fnirs_samples(seconds)))
            eeg_rest[key] = 20 * rng.normal(size=(64, 5 * rate_hz))
            fnirs_rest[key] = rng.normal(size=(6, 51, 238))
            ratings[key] = rng.integers(1, 256, size=(2, seconds)).astype(float)
            for second in range(seconds):
                sample = f"{person}_V{int(key[6:]):02d}_T{second:03d}"
                rows.append((sample, *ratings[key][:, second].astype(int)))
        savemat(folder / "EEG_videos.mat", eeg)
        savemat(folder / "EEG_baselines.mat", eeg_rest)
        savemat(folder / "fNIRS_videos.mat", fnirs)
        savemat(folder / "fNIRS_baselines.mat", fnirs_rest)
        if labels:
            (root / "annotations").mkdir(exist_ok=True)
            savemat(root / "annotations" / f"{person}_label.mat", ratings)
    if reservations:
        channels = [f"ch-{number}" for number in range(1, 52)]
        lines = [",".join(["sub_id", *channels])]
        lines += [",".join([person, *("1",) * 51]) for person in people]
        write_lines(root / "fNIRS_reservations.csv", lines)
    if ids:
        lines = ["sample_id", *(row[0] for row in rows)]
        write_lines(root / "sample_ids.csv", lines)
    if targets:
        lines = ["sample_id,valence,arousal", *(f"{i},{v},{a}" for i, v, a in rows)]
        write_lines(root / "targets.csv", lines)
    if simulated:
        mark = {"source": "simulated", "layout": "trainval", "seed": 0, "coupling": 0}
        (root / "simulation.json").write_text(json.dumps(mark))
    return root


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def edit_lines(path, edit):
    """Replace the lines of a text file by what `edit` makes of them."""
    write_lines(path, edit(path.read_text().splitlines()))


def edit_mat(path, edit):
    """Save a MATLAB file again after `edit` has changed its dict of arrays."""
    arrays = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    edit(arrays)
    savemat(path, arrays)


def file_of(root, name, person="test_2"):
    if name == "labels":
        return root / "annotations" / f"{person}_label.mat"
    return root / "data" / person / f"{name}.mat"


def _change(name, key, function):
    """Return a mutation that replaces one variable of test_2."""

    def mutate(root):
        path = file_of(root, name)
        edit_mat(path, lambda arrays: arrays.update({key: function(arrays[key])}))

    return mutate


def _missing_file(root):
    file_of(root, "EEG_videos").unlink()


def _missing_key(root):
    edit_mat(file_of(root, "EEG_videos"), lambda arrays: arrays.pop("video_2"))


def _truncated(root):
    path = file_of(root, "EEG_videos")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _not_matlab(root):
    file_of(root, "fNIRS_videos").write_text("hello")


def _nan_person(root):
    def clear(arrays):
        for array in arrays.values():
            array[:] = np.nan

    edit_mat(file_of(root, "EEG_videos"), clear)


def _wrong_name(root):
    (root / "data" / "test_2").rename(root / "data" / "test 2")
    file_of(root, "labels").rename(file_of(root, "labels", "test 2"))


def _label_out_of_range(array):
    array[0, 3] = 300
    return array


def _label_nan(array):
    array[1, 0] = np.nan
    return array


def _reservations(edit):
    return lambda root: edit_lines(root / "fNIRS_reservations.csv", edit)


def _reservations_empty(root):
    (root / "fNIRS_reservations.csv").write_text("")


def _sample_ids(lines):
    return lambda root: write_lines(root / "sample_ids.csv", ["sample_id", *lines])


def _good_ids(people=PEOPLE):
    return [
        f"{person}_V{int(key[6:]):02d}_T{second:03d}"
        for person in people
        for key, seconds in SECONDS.items()
        for second in range(seconds)
    ]


def _no_data(root):
    shutil.rmtree(root / "data" / "test_2")


def _no_labels(root):
    file_of(root, "labels").unlink()


def _link_person(root):
    outside = root.parent / f"{root.name}_outside"
    (root / "data" / "test_2").rename(outside)
    (root / "data" / "test_2").symlink_to(outside)


def _link_file(root):
    outside = root.parent / f"{root.name}_outside.mat"
    file_of(root, "EEG_videos").rename(outside)
    file_of(root, "EEG_videos").symlink_to(outside)


def _empty(root):
    shutil.rmtree(root)
    root.mkdir()


def _is_file(root):
    shutil.rmtree(root)
    root.write_text("data")


def _absent(root):
    shutil.rmtree(root)


def _no_people(root):
    shutil.rmtree(root / "data")
    (root / "data").mkdir()


def _empty_person(root):
    for name in FILES:
        file_of(root, name).unlink()


def _mixed_sources(root):
    (root / "data" / "test_2").rename(root / "data" / "predict2")
    file_of(root, "labels").rename(file_of(root, "labels", "predict2"))


def _targets_differ(root):
    write_lines(root / "sample_ids.csv", ["sample_id", *_good_ids()])
    lines = [f"{sample_id},0,300" for sample_id in _good_ids()]
    write_lines(root / "targets.csv", ["sample_id,valence,arousal", *lines])


MUTATIONS = {
    "missing_file": _missing_file,
    "missing_key": _missing_key,
    "truncated_mat": _truncated,
    "not_matlab": _not_matlab,
    "nan_person": _nan_person,
    "wrong_eeg_shape": _change("EEG_videos", "video_2", lambda x: x[:60]),
    "wrong_fnirs_shape": _change("fNIRS_videos", "video_2", lambda x: x[0]),
    "transposed_eeg": _change("EEG_videos", "video_2", lambda x: x.T),
    "transposed_fnirs": _change("fNIRS_videos", "video_2", lambda x: x.T),
    "text_variable": _change("EEG_videos", "video_2", lambda x: "words"),
    "empty_variable": _change("EEG_videos", "video_2", lambda x: x[:, :0]),
    "wrong_person_name": _wrong_name,
    "wrong_id_pattern": _sample_ids([*_good_ids(), "test_2;V03;T007"]),
    "duplicate_ids": _sample_ids([*_good_ids(), "test_2_V03_T007"]),
    "gap_in_ids": _sample_ids([i for i in _good_ids() if i != "test_2_V03_T003"]),
    "unknown_person_in_ids": _sample_ids(_good_ids((*PEOPLE, "test_3"))),
    "person_without_ids": _sample_ids(_good_ids(("test_1",))),
    "targets_differ": _targets_differ,
    "empty_csv": _reservations_empty,
    "label_out_of_range": _change("labels", "video_2", _label_out_of_range),
    "label_nan": _change("labels", "video_2", _label_nan),
    "labels_3_s_longer": _change(
        "labels", "video_2", lambda x: np.pad(x, ((0, 0), (0, 3)), "edge")
    ),
    "ambiguous_labels": _change("labels", "video_2", lambda x: x[:, :2]),
    "eeg_at_250_hz": _change(
        "EEG_videos", "video_3", lambda x: np.repeat(x, 5, 1)[:, ::4]
    ),
    "duplicate_reservations": _reservations(lambda lines: [*lines, lines[-1]]),
    "strange_reservations": _reservations(
        lambda lines: [*lines[:-1], lines[-1].replace("1,1,1", "1,x,1", 1)]
    ),
    "short_reservations": _reservations(
        lambda lines: [line.rsplit(",", 2)[0] for line in lines]
    ),
    "every_channel_missing": _reservations(
        lambda lines: [*lines[:-1], ",".join(["test_2", *("0",) * 51])]
    ),
    "labels_without_data": _no_data,
    "data_without_labels": _no_labels,
    "link_out_of_folder": _link_person,
    "file_link_out_of_folder": _link_file,
    "person_without_files": _empty_person,
    "mixed_sources": _mixed_sources,
    "empty_folder": _empty,
    "path_is_file": _is_file,
    "absent_path": _absent,
    "no_people": _no_people,
}

MESSAGES = {
    "missing_file": r"no EEG, EEG_videos.mat is absent",
    "missing_key": r"no EEG, EEG_videos.mat lacks video_2",
    "truncated_mat": r"test_2/EEG_videos.mat: expected a whole file",
    "not_matlab": r"test_2/fNIRS_videos.mat: ",
    "nan_person": r"EEG_videos.mat: expected finite samples in each video, "
    r"found none in V01, V02, V03",
    "wrong_eeg_shape": r"EEG_videos.mat, variable video_2: expected shape "
    r"\(64, time\), found \(60, 1400\)",
    "wrong_fnirs_shape": r"fNIRS_videos.mat, variable video_2: expected shape "
    r"\(6, 51, time\), found \(51, 334\)",
    "transposed_eeg": r"EEG was transposed, it came as \(1400, 64\)",
    "transposed_fnirs": r"fNIRS was transposed, it came as \(334, 51, 6\)",
    "text_variable": r"EEG_videos.mat, variable video_2: expected numbers",
    "empty_variable": r"expected shape \(64, time\), found \(64, 0\)",
    "wrong_person_name": r"data/'test 2': expected a person's name",
    "wrong_id_pattern": r"1 ids are not of the form .*'test_2;V03;T007'",
    "duplicate_ids": r"1 ids come more than once: 'test_2_V03_T007'",
    "gap_in_ids": r"without a gap in test_2 V03",
    "unknown_person_in_ids": r"people without a folder in data/: test_3",
    "person_without_ids": r"no ids for test_2",
    "targets_differ": r"42 rows are not two numbers in 1..255: test_1_V01_T000",
    "empty_csv": r"fNIRS_reservations.csv: expected a header .* an empty file",
    "label_out_of_range": r"test_2_label.mat, variable video_2: expected ratings in "
    r"1..255, found 1 of 14 others, the first in second 3: 300",
    "label_nan": r"found 1 of 14 others, the first in second 0: nan",
    "labels_3_s_longer": r"test_2, video_2: expected fNIRS of 10 s \(by the labels\)",
    "ambiguous_labels": r"found \(2, 2\), which could be either",
    "eeg_at_250_hz": r"test_2, video_3: expected EEG of 8 s .* \(250 Hz if",
    "duplicate_reservations": r"line 4: test_2 comes more than once; the rows agree",
    "strange_reservations": r"line 3 \(test_2\): expected 0 or 1, found 'x' in ch-2",
    "short_reservations": r"header without ch-50, ch-51",
    "every_channel_missing": r"test_2 has no usable fNIRS channel",
    "labels_without_data": r"there is no folder data/test_2",
    "data_without_labels": r"no label file for data/test_2",
    "link_out_of_folder": r"data/test_2: .* found a link that leaves it",
    "file_link_out_of_folder": r"EEG_videos.mat: .* found a link that leaves it",
    "person_without_files": r"test_2: neither EEG_videos.mat nor fNIRS_videos.mat",
    "mixed_sources": r"several sources in one folder: predict2 .* test_1",
    "empty_folder": r"expected a folder that holds data/<person>/, found no data/",
    "path_is_file": r"expected a folder that holds data/, found a file",
    "absent_path": r"no such folder",
    "no_people": r"data: expected one folder per person, found no usable one",
}

#: Worst severity that `check` finds; ``None`` where only reading signals tells.
SEVERITY = dict.fromkeys(MUTATIONS, "error") | {
    "missing_file": "note",
    "missing_key": "note",
    "transposed_eeg": "note",
    "transposed_fnirs": "note",
    "nan_person": None,
    "gap_in_ids": "warning",
    "person_without_ids": "warning",
    "every_channel_missing": "warning",
}

_NOBODY = ("empty_folder", "path_is_file", "absent_path", "no_people")
_BOTH = (
    *("missing_file", "missing_key", "transposed_eeg", "transposed_fnirs"),
    *("wrong_id_pattern", "duplicate_ids", "gap_in_ids", "unknown_person_in_ids"),
    *("person_without_ids", "targets_differ", "empty_csv", "duplicate_reservations"),
    *("strange_reservations", "short_reservations", "every_channel_missing"),
    *("data_without_labels", "mixed_sources"),
)
#: People all of whose trials come without a failure.
GOOD_PEOPLE = (
    dict.fromkeys(MUTATIONS, ("test_1",))
    | dict.fromkeys(_NOBODY, ())
    | dict.fromkeys(_BOTH, PEOPLE)
    | {"mixed_sources": ("predict2", "test_1")}
)


def break_copy(good, target, name):
    """Copy a good folder and break the copy in the named way."""
    shutil.copytree(good, target)
    MUTATIONS[name](Path(target))
    return Path(target)
