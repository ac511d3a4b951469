import gc
import struct
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import test_mat73
from scipy.io import loadmat, savemat
from test_mat5 import CLASSES, deflated, matrix, write

from merps.errors import DataError, InputError
from merps.readers.mat5 import MatFile, write_mat5

SMAPS = Path("/proc/self/smaps")
SHAPES = [(3, 7), (1, 1), (2, 3, 5), (1, 9), (4, 0)]


def resident_kb(path):
    """Pages of a file that count as memory of this process."""
    total, inside = 0, False
    for line in SMAPS.read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            inside = bool(rest) and rest[-1] == str(path)
        elif inside and first == "Rss:":
            total += int(rest[0])
    return total


needs_smaps = pytest.mark.skipif(not SMAPS.exists(), reason="Linux tells pages")


# Without a copy.


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("matlab_class", CLASSES)
def test_views_are_the_file_itself_and_equal_what_is_read(
    tmp_path, rng, shape, matlab_class
):
    path = tmp_path / "plain.mat"
    values = {
        "first": (100 * rng.normal(size=shape)).astype("i1").astype(matlab_class),
        "name_of_video_2": rng.integers(0, 99, size=shape).astype(matlab_class),
    }
    if matlab_class in ("double", "single") and values["first"].size:
        values["first"].flat[-1] = np.nan
    savemat(path, values)
    reference = loadmat(path)
    with MatFile(path) as file:
        for name, value in values.items():
            view, again, own = file.view(name), file.view(name), file.read(name)
            np.testing.assert_array_equal(view, value, strict=True)
            np.testing.assert_array_equal(view, reference[name], strict=True)
            np.testing.assert_array_equal(own, value, strict=True)
            assert view.flags.f_contiguous
            assert view.flags.aligned
            assert own.flags.writeable
            assert not np.shares_memory(view, own)
            if value.size:
                assert np.shares_memory(view, again)
                with pytest.raises(ValueError, match="read-only"):
                    view[...] = 0


def test_views_outlive_the_file_and_its_name(tmp_path, rng):
    path = tmp_path / "gone.mat"
    value = rng.normal(size=(5, 4000))
    write_mat5(path, [("x", value), ("y", -value)], compress=False)
    with MatFile(path) as file:
        view = file.view("x")[:, ::2]
    del file
    path.unlink()
    gc.collect()
    np.testing.assert_array_equal(view, value[:, ::2])


# With a copy.


def write_in_hdf5(path, value):
    with h5py.File(path, "w", userblock_size=512) as file:
        test_mat73.put(file, "x", value)
    return test_mat73.add_header(path)


def shorter(element, n_bytes):
    """Leave out the padding of an element, so that the next one is misaligned."""
    element = element[:-n_bytes]
    return element[:4] + struct.pack("<I", len(element) - 8) + element[8:]


VALUE = np.arange(24.0).reshape(4, 6)
FOREIGN = "><"[sys.byteorder == "big"]
COPIED = {
    "compressed": lambda path: write(path, deflated(matrix("x", (4, 6), VALUE))),
    "byte-swapped": lambda path: write(
        path, matrix("x", (4, 6), VALUE, order=FOREIGN), order=FOREIGN
    ),
    "narrowed": lambda path: write(path, matrix("x", (4, 6), VALUE, storage="uint8")),
    "misaligned": lambda path: write(
        path,
        shorter(matrix("a", (1, 3), [1, 2, 3], matlab_class="int16"), 2),
        matrix("x", (4, 6), VALUE),
    ),
    "HDF5": lambda path: write_in_hdf5(path, VALUE),
}


@pytest.mark.parametrize("kind", COPIED)
def test_what_cannot_be_shown_is_read(tmp_path, kind):
    with MatFile(COPIED[kind](tmp_path / "copied.mat")) as file:
        view = file.view("x")
        np.testing.assert_array_equal(view, VALUE)
        assert view.dtype == np.float64
        assert view.dtype.isnative
        assert view.flags.writeable
        assert view.flags.owndata
        assert view.flags.f_contiguous
        assert not np.shares_memory(view, file.view("x"))
        file.release("x")
        np.testing.assert_array_equal(file.read("x"), VALUE)
    np.testing.assert_array_equal(view, VALUE)


def test_what_cannot_be_read_cannot_be_shown(tmp_path, rng):
    broken = bytearray(deflated(matrix("bad", (50, 50), rng.normal(size=2500))))
    broken[-1] ^= 1
    path = write(
        tmp_path / "bad.mat",
        bytes(broken),
        matrix("x", (4, 6), VALUE),
        matrix("cut", (4, 6), VALUE)[:-8],
    )
    with MatFile(path, max_bytes=20_000) as file:
        file.view("x")
        with pytest.raises(DataError, match=r"bad: .*compressed data are damaged"):
            file.view("bad")
        with pytest.raises(DataError, match=r"cut: expected a whole variable"):
            file.view("cut")
        for action in (file.view, file.release):
            with pytest.raises(DataError, match=r"variable none: expected it in the"):
                action("none")
    with MatFile(path, max_bytes=100) as file:
        with pytest.raises(DataError, match=r"x: expected at most 100 bytes"):
            file.view("x")
    for action in (file.view, file.release):
        with pytest.raises(InputError, match="is closed"):
            action("x")


# Pages.


@needs_smaps
def test_releasing_one_variable_leaves_the_pages_of_the_others(tmp_path, rng):
    path = tmp_path / "pages.mat"
    value = rng.normal(size=(2, 2**16))  # 1 MiB
    write_mat5(path, [("x", value), ("y", value), ("z", value)], compress=False)
    with MatFile(path) as file:
        views = {name: file.view(name) for name in "xyz"}
        for view in views.values():
            assert np.isfinite(view.sum())
        before = resident_kb(path)
        assert before >= 3 * 1024
        file.release("y")
        assert before - 1100 < resident_kb(path) < before - 900
        file.read("x")
        assert before - 2200 < resident_kb(path) < before - 1900
        for view in views.values():
            np.testing.assert_array_equal(view, value)
        assert resident_kb(path) >= 3 * 1024
        for name in "xxyz":
            file.release(name)
        assert resident_kb(path) < 200
    np.testing.assert_array_equal(views["z"], value)


@needs_smaps
@pytest.mark.parametrize("compress", [False, True])
def test_reading_keeps_no_pages(tmp_path, rng, compress):
    path = tmp_path / "pages.mat"
    value = rng.normal(size=(2, 2**18))
    write_mat5(path, [("x", value)], compress=compress)
    with MatFile(path) as file:
        file.read("x")
        assert resident_kb(path) < 200


def test_threads_that_view_read_and_release_see_the_same(tmp_path, rng):
    values = {f"video_{i}": rng.normal(size=(7, 30_000)) for i in range(3)}
    write_mat5(tmp_path / "plain.mat", values.items(), compress=False)
    write_mat5(tmp_path / "packed.mat", values.items(), compress=True)
    wrong = []

    def work(file, names):
        for name in names:
            for action in (file.view, file.read, file.view):
                array = action(name)
                if array.tobytes() != values[name].tobytes():
                    wrong.append((file.path.name, name))
                file.release(name)

    names = list(values)
    with (
        MatFile(tmp_path / "plain.mat") as plain,
        MatFile(tmp_path / "packed.mat") as packed,
    ):
        threads = [
            threading.Thread(target=work, args=[file, order])
            for file in (plain, packed)
            for order in (names, names[::-1])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
