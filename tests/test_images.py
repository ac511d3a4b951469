import tracemalloc

import h5py
import numpy as np
import pytest

from merps.errors import InputError
from merps.store.images import Image


def write(image, path):
    with open(path, "wb") as file:
        file.writelines(image.pieces())
    assert path.stat().st_size == image.n_bytes
    return path


def lay_out(arrays, facts=()):
    with Image() as image:
        for name, array in arrays.items():
            dataset = image.reserve(
                image.file.require_group("g"), name, [array], array.shape, array.dtype
            )
            for key in facts:
                dataset.attrs[key] = facts[key]
    return image


def test_what_is_laid_out_is_what_libhdf5_reads(tmp_path, rng):
    missing = rng.normal(size=(3, 5000))
    missing[1] = np.nan
    arrays = {
        "missing": missing,
        "one channel": rng.normal(size=(1, 7)).astype(np.float32),
        "every other": rng.normal(size=(4, 3000))[:, ::2],
        "columns first": np.asfortranarray(rng.normal(size=(40, 2, 70))),
        "nothing": np.empty((4, 0), np.float32),
        "number": np.array(3.5),
        "big end": rng.integers(0, 99, size=11).astype(">i4"),
        "flags": rng.random(3 * 2**20) < 0.5,
    }
    facts = {"names": ["a" * 90, "ü"] * 3000, "rate_hz": 200.0, "table": missing[:2]}
    with h5py.File(write(lay_out(arrays, facts), tmp_path / "a.h5")) as file:
        for name, array in arrays.items():
            dataset = file["g"][name]
            np.testing.assert_array_equal(dataset[()], array)
            assert dataset.dtype == array.dtype
            assert dataset.chunks is None
            assert (dataset.id.get_offset() or 0) % 4096 == 0
            assert list(dataset.attrs["names"]) == facts["names"]
            np.testing.assert_array_equal(dataset.attrs["table"], missing[:2])


def test_a_dataset_may_come_in_blocks_and_be_written_again(tmp_path, rng):
    whole = rng.normal(size=(100, 3, 50)).astype(np.float32)
    with Image() as image:
        image.reserve(
            image.file,
            "windows",
            np.array_split(whole, 7),
            whole.shape,
            whole.dtype,
        )
        image.file["rows"] = np.arange(5)  # what libhdf5 writes itself is metadata
    for name in ("a.h5", "b.h5"):
        with h5py.File(write(image, tmp_path / name)) as file:
            np.testing.assert_array_equal(file["windows"][()], whole)
            np.testing.assert_array_equal(file["rows"][()], np.arange(5))


@pytest.mark.parametrize(
    "blocks",
    [
        [np.zeros(9)],
        [np.zeros(6), np.zeros(5)],
        [],
        [np.zeros(10, np.int64)],
    ],
)
def test_blocks_that_do_not_fill_their_place_are_refused(blocks):
    with Image() as image:
        image.reserve(image.file, "x", blocks, (10,), np.float64)
    with pytest.raises(InputError, match=r"do not make up float64 of shape \(10,\)"):
        list(image.pieces())


def test_equal_calls_give_equal_bytes(rng):
    arrays = {"a": rng.normal(size=(3, 999)), "b": rng.normal(size=4)}
    first, second = (
        b"".join(lay_out(arrays, {"names": ["x", "y"]}).pieces()) for _ in range(2)
    )
    assert first == second


def test_arrays_are_not_copied():
    arrays = {str(number): np.ones((64, 10_000)) for number in range(10)}
    lay_out(arrays)
    tracemalloc.start()
    image = lay_out(arrays)
    for piece in image.pieces():
        assert len(piece) <= 2**20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.n_bytes > 10 * arrays["0"].nbytes
    assert peak < arrays["0"].nbytes


def test_pieces_are_parts_of_the_arrays():
    array = np.zeros(5 * 2**20, np.uint8)
    pieces = list(lay_out({"a": array}).pieces())
    assert sum(np.shares_memory(np.asarray(p), array) for p in pieces[1:-1]) >= 4
