import os
import pickle
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from merps.errors import DataError, InputError, MerpsError, SpaceError
from merps.readers.mat5 import MatFile, write_mat5

CLASSES = {
    **{"double": 6, "single": 7, "int8": 8, "uint8": 9, "int16": 10, "uint16": 11},
    **{"int32": 12, "uint32": 13, "int64": 14, "uint64": 15},
}
STORAGE = {
    **{"int8": 1, "uint8": 2, "int16": 3, "uint16": 4, "int32": 5, "uint32": 6},
    **{"single": 7, "double": 9, "int64": 12, "uint64": 13},
}
MATRIX, COMPRESSED = 14, 15


# Files written by hand, from the description of the format.


def header(order="<"):
    text = b"MATLAB 5.0 MAT-file, by hand".ljust(124)
    return text + struct.pack(f"{order}HH", 0x0100, 0x4D49)


def part(code, payload, order="<"):
    if 0 < len(payload) <= 4:
        return struct.pack(f"{order}I", len(payload) << 16 | code) + payload.ljust(
            4, b"\0"
        )
    return struct.pack(f"{order}II", code, len(payload)) + padded(payload)


def padded(payload):
    return payload + bytes(-len(payload) % 8)


def matrix(name, shape, values, *, matlab_class="double", storage=None, **options):
    order, flags = options.get("order", "<"), options.get("flags", 0)
    storage = storage or matlab_class
    class_code = options.get("class_code", CLASSES.get(matlab_class))
    numbers = np.asarray(values).astype(np.dtype(storage).newbyteorder(order))
    body = part(6, struct.pack(f"{order}II", flags << 8 | class_code, 0), order)
    body += part(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    body += part(1, name.encode("latin-1"), order)
    body += part(STORAGE[storage], numbers.tobytes(order="F"), order)
    return struct.pack(f"{order}II", MATRIX, options.get("n_bytes", len(body))) + body


def deflated(element, order="<", *, level=9, pad=b""):
    data = zlib.compress(element, level) + pad
    return struct.pack(f"{order}II", COMPRESSED, len(data)) + data


def write(path, *elements, order="<"):
    path.write_bytes(header(order) + b"".join(elements))
    return path


def read_all(path):
    """Return what can be read, after every error was seen to be our own."""
    found = {}
    try:
        with MatFile(path, max_bytes=2**24) as file:
            for name in file.variables:
                try:
                    found[name] = file.read(name)
                except MerpsError as error:
                    assert path.name in str(error)  # noqa: PT017
    except MerpsError as error:
        assert path.name in str(error)  # noqa: PT017
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mat5")


# Agreement with SciPy.

numeric = st.sampled_from([np.dtype(name) for name in CLASSES]).flatmap(
    lambda dtype: arrays(
        dtype, array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5)
    )
)


@given(
    values=st.lists(numeric, min_size=1, max_size=4),
    compress=st.booleans(),
)
def test_agrees_with_scipy(folder, values, compress):
    path = folder / "property.mat"
    names = [f"video_{i}" for i in range(1, len(values) + 1)][::-1]
    savemat(path, dict(zip(names, values, strict=True)), do_compression=compress)
    reference = loadmat(path)
    with MatFile(path) as file:
        assert list(file.variables) == names
        assert file.damage is None
        for name, value in zip(names, values, strict=True):
            actual = file.read(name)
            variable = file.variables[name]
            assert (variable.shape, variable.n_bytes) == (actual.shape, actual.nbytes)
            assert actual.dtype == value.dtype == np.dtype(variable.matlab_class)
            assert actual.flags.f_contiguous
            assert actual.flags.owndata
            np.testing.assert_array_equal(actual, value, strict=True)
            np.testing.assert_array_equal(actual, reference[name], strict=True)


@given(
    value=arrays(
        st.sampled_from([np.dtype("f4"), np.dtype("f8")]),
        array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=5),
    ),
    compress=st.booleans(),
    level=st.integers(1, 9),
)
def test_scipy_reads_what_is_written(folder, value, compress, level):
    path = folder / "written.mat"
    pairs = [("video_1", value), ("video_2", value[::-1].swapaxes(0, 1))]
    write_mat5(path, iter(pairs), compress=compress, level=level)
    first = path.read_bytes()
    write_mat5(path, iter(pairs), compress=compress, level=level)
    assert path.read_bytes() == first
    reference = loadmat(path)
    with MatFile(path) as file:
        for name, expected in pairs:
            np.testing.assert_array_equal(reference[name], expected, strict=True)
            np.testing.assert_array_equal(file.read(name), expected, strict=True)


def test_large_arrays_cross_the_pieces_they_are_read_in(folder, rng):
    value = rng.normal(size=(3, 200_001)).round(3)  # compresses, 4.8 MB
    counts = rng.integers(0, 255, size=(2_000_003, 1))
    path = write(
        folder / "large.mat",
        deflated(matrix("a", value.shape, value.T.reshape(-1)), level=1),
        matrix("b", value.shape, value.T.reshape(-1)),
        deflated(matrix("c", counts.shape, counts, storage="uint8"), level=1),
    )
    with MatFile(path) as file:
        np.testing.assert_array_equal(file.read("a"), value)
        np.testing.assert_array_equal(file.read("b"), value)
        np.testing.assert_array_equal(file.read("c"), counts.astype(float))


# The format by hand: byte orders, storage types, padding, names.


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("matlab_class", CLASSES)
def test_reads_both_byte_orders(tmp_path, order, compress, matlab_class):
    values = np.arange(24).reshape(2, 3, 4)
    wrap = (lambda e: deflated(e, order)) if compress else (lambda e: e)
    path = write(
        tmp_path / "hand.mat",
        wrap(matrix("x", (2, 3, 4), values, matlab_class=matlab_class, order=order)),
        wrap(matrix("longer_name", (1, 1), 7, matlab_class=matlab_class, order=order)),
        order=order,
    )
    with MatFile(path) as file:
        np.testing.assert_array_equal(
            file.read("x"), values.astype(matlab_class), strict=True
        )
        assert file.read("longer_name").item() == 7
    np.testing.assert_array_equal(loadmat(path)["x"], values)


@pytest.mark.parametrize("matlab_class", ["double", "single"])
@pytest.mark.parametrize("storage", ["uint8", "int8", "uint16", "int16", "int32"])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_narrowed_whole_numbers_are_widened(tmp_path, matlab_class, storage, n):
    limits = np.iinfo(storage)
    top = min(limits.max, 2**16 - 1)  # exact in single precision
    values = np.array([top, limits.min, 0, 1, 100, 127])[:n]
    path = write(
        tmp_path / "narrow.mat",
        matrix("x", (1, n), values, matlab_class=matlab_class, storage=storage),
    )
    with MatFile(path) as file:
        assert file.variables["x"].n_bytes == n * np.dtype(matlab_class).itemsize
        actual = file.read("x")
    assert actual.dtype == np.dtype(matlab_class)
    np.testing.assert_array_equal(actual, [values])


@pytest.mark.parametrize(
    ("matlab_class", "storage", "value"),
    [
        ("int8", "uint8", 200),
        ("uint8", "int8", -1),
        ("int64", "uint64", 2**63),
        ("uint8", "int16", -1),
        ("uint8", "int16", 300),
        ("int16", "double", 0.5),
        ("int32", "double", np.nan),
        ("uint16", "double", np.inf),
        ("single", "double", 1e300),
        ("single", "int32", 2**24 + 1),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, matlab_class, storage, value):
    path = write(
        tmp_path / "misfit.mat",
        matrix("x", (1, 2), [1, value], matlab_class=matlab_class, storage=storage),
    )
    with MatFile(path) as file, pytest.raises(DataError, match=r"variable x.*no "):
        file.read("x")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("pads", [True, False])
def test_padding_after_compressed_elements_is_skipped(tmp_path, order, pads):
    elements = [
        deflated(matrix(f"video_{i}", (1, i), np.arange(i), order=order), order)
        for i in range(1, 16)
    ]
    if pads:
        elements = [padded(element) for element in elements]
    assert pads or any(len(element) % 8 for element in elements)
    path = write(tmp_path / "padded.mat", *elements, order=order)
    with MatFile(path) as file:
        assert list(file.variables) == [f"video_{i}" for i in range(1, 16)]
        assert file.damage is None
        np.testing.assert_array_equal(file.read("video_9"), [np.arange(9)])


def test_padding_inside_an_element_may_be_there_or_not(tmp_path):
    whole = matrix("a", (1, 3), [1, 2, 3], matlab_class="int16")  # 6 bytes + 2
    bare = matrix("b", (1, 3), [1, 2, 3], matlab_class="int16")[:-2]
    bare = bare[:4] + struct.pack("<I", len(bare) - 8) + bare[8:]
    path = write(
        tmp_path / "inside.mat", whole, deflated(whole.replace(b"a", b"c")), bare
    )
    with MatFile(path) as file:
        for name in "abc":
            np.testing.assert_array_equal(file.read(name), [[1, 2, 3]])


def test_what_is_no_array_of_real_numbers_is_named_and_skipped(tmp_path):
    path = tmp_path / "mixed.mat"
    values = {
        "text": "hello",
        "yes": np.ones((1, 3), bool),
        "cell": np.array([1, "a"], object),
        "structure": {"a": 1},
        "sparse": csc_array(np.eye(3)),
        "waves": np.ones((2, 2)) * 1j,
    }
    savemat(path, {**values, "signal": np.eye(2)}, do_compression=True)
    handle = matrix("handle", (1, 1), 0, class_code=16)
    flags = part(6, struct.pack("<II", 17, 0))
    opaque = flags + part(1, b"opaque") + part(1, b"MCOS") + part(1, b"table")
    with path.open("ab") as file:
        file.write(handle)
        file.write(struct.pack("<II", MATRIX, len(opaque)) + opaque)
        file.write(matrix("", (1, 8), range(8), matlab_class="uint8"))
    with MatFile(path) as file:
        assert list(file.variables) == ["signal"]
        np.testing.assert_array_equal(file.read("signal"), np.eye(2))
        assert file.damage is None
        reasons = file.skipped
        for name in [*values, "handle", "opaque"]:
            with pytest.raises(DataError) as caught:
                file.read(name)
            for said in (str(path), name, reasons[name], "real numbers"):
                assert said in str(caught.value)
    assert reasons == {
        "text": "text (char)",
        "yes": "a logical array",
        "cell": "a cell array",
        "structure": "a structure",
        "sparse": "a sparse matrix",
        "waves": "complex numbers",
        "handle": "a function handle",
        "opaque": "an opaque object",
        "__function_workspace__": "data that MATLAB keeps for functions and objects",
    }


def test_arrays_outlive_the_file_and_several_threads_read(tmp_path, rng):
    path = tmp_path / "threads.mat"
    values = {f"video_{i}": rng.normal(size=(7, 30_000)) for i in range(4)}
    write_mat5(path, values.items(), compress=True)
    found = {}
    with MatFile(path) as file:

        def read(name):
            found[name] = file.read(name)

        threads = [threading.Thread(target=read, args=[name]) for name in values]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    file.close()
    path.unlink()
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    with pytest.raises(InputError, match="is closed"):
        file.read("video_0")


# Damage.


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "compressed"])
def whole(request, folder):
    """A small file, its arrays, and where each ends."""
    rng = np.random.default_rng(7)
    values = {
        "video_1": rng.normal(size=(2, 3)),
        "video_2": rng.integers(0, 99, size=(2, 2, 2)).astype("i2"),
        "video_3": np.float64([[5.0]]),
        "a": rng.normal(size=(4, 1)).astype("f4"),
    }
    ends, path = [128], folder / f"whole{request.param}.mat"
    for name, value in values.items():
        savemat(path, {name: value}, do_compression=request.param)
        ends.append(ends[-1] + path.stat().st_size - 128)
    savemat(path, values, do_compression=request.param)
    return path.read_bytes(), values, ends


def test_every_cut_leaves_the_variables_before_it(tmp_path, whole):
    data, values, ends = whole
    assert ends[-1] == len(data)
    path = tmp_path / "cut.mat"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        if cut < 128:
            with pytest.raises(DataError, match=r"cut\.mat: expected a MATLAB file"):
                MatFile(path)
            continue
        n_whole = sum(end <= cut for end in ends[1:])
        names = list(values)
        with MatFile(path) as file:
            assert list(file.variables) == names[:n_whole]
            assert (file.damage is None) == (cut in ends)
            assert file.damage is None or str(path) in file.damage
            for name in names[:n_whole]:
                np.testing.assert_array_equal(file.read(name), values[name])
            for name in names[n_whole:]:
                with pytest.raises(DataError, match=rf"cut\.mat, variable {name}:"):
                    file.read(name)


def test_a_cut_variable_is_named(tmp_path, rng):
    path = tmp_path / "EEG_videos.mat"
    values = {f"video_{i}": rng.normal(size=(4, 500)) for i in range(1, 16)}
    for compress in (False, True):
        write_mat5(path, values.items(), compress=compress)
        data = path.read_bytes()
        path.write_bytes(data[: 128 + int((len(data) - 128) * 6.5 / 15)])
        with MatFile(path) as file:
            assert list(file.variables) == [f"video_{i}" for i in range(1, 7)]
            assert "video_7: the file ends" in file.damage
            with pytest.raises(DataError) as caught:
                file.read("video_7")
            message = str(caught.value)
            for said in ("EEG_videos.mat, variable video_7", "whole", "copy or down"):
                assert said in message
            with pytest.raises(DataError, match=r"video_9: expected.*found video_1.*7"):
                file.read("video_9")


def test_flipped_bits_raise_nothing_but_our_errors(tmp_path, whole):
    data, values, _ = whole
    path = tmp_path / "flipped.mat"
    rng = np.random.default_rng(11)
    n_silent = 0
    for bit in rng.choice(len(data) * 8, size=400, replace=False):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        for name, value in read_all(path).items():
            same = name in values and np.array_equal(value, values[name])
            n_silent += not same
    compressed = data[128] == COMPRESSED
    assert (n_silent == 0) == compressed  # zlib sums up what it packs, plain does not


def test_edited_type_codes_and_sizes_raise_nothing_but_our_errors(tmp_path, whole):
    data, _, _ = whole
    path = tmp_path / "edited.mat"
    words = [0, 1, 5, 6, 9, 14, 15, 19, 2**16 | 5, 2**31, 2**32 - 1, 4 << 16 | 9]
    for at in range(128, min(len(data) - 4, 232), 4):
        for word in words:
            path.write_bytes(data[:at] + struct.pack("<I", word) + data[at + 4 :])
            read_all(path)


@given(tail=st.binary(max_size=200), order=st.sampled_from("<>"))
def test_random_bytes_raise_nothing_but_our_errors(folder, tail, order):
    path = folder / "random.mat"
    path.write_bytes(header(order) + tail)
    read_all(path)


@given(
    body=st.binary(max_size=100),
    shape=st.lists(st.integers(-1, 2**31 - 1), max_size=5),
    n_bytes=st.integers(0, 2**32 - 1),
    compress=st.booleans(),
)
def test_heads_that_lie_raise_nothing_but_our_errors(
    folder, body, shape, n_bytes, compress
):
    path = folder / "lies.mat"
    element = matrix("x", shape, np.frombuffer(body, "u1"), storage="uint8")
    element = element[:4] + struct.pack("<I", n_bytes) + element[8:]
    write(path, deflated(element) if compress else element)
    found = read_all(path)
    if found:
        assert found["x"].shape == tuple(shape)


def test_damage_of_one_element_leaves_the_others(tmp_path, rng):
    good = [matrix(f"video_{i}", (1, 4), range(4)) for i in (1, 3)]
    broken = bytearray(deflated(matrix("video_2", (50, 50), rng.normal(size=2500))))
    broken[-1] ^= 1
    path = write(tmp_path / "one.mat", good[0], bytes(broken), good[1])
    with MatFile(path) as file:
        assert list(file.variables) == ["video_1", "video_2", "video_3"]
        file.read("video_3")
        with pytest.raises(DataError, match=r"video_2.*compressed data are damaged"):
            file.read("video_2")
    lie = matrix("video_2", (5, 5), range(4))
    path = write(tmp_path / "one.mat", good[0], lie, good[1])
    with MatFile(path) as file:
        assert list(file.variables) == ["video_1", "video_3"]
        assert "video_2: its shape (5, 5) needs 200 bytes" in file.damage


@pytest.mark.parametrize("compress", [False, True])
def test_a_name_that_comes_twice_is_refused(tmp_path, compress):
    wrap = deflated if compress else bytes
    elements = [wrap(matrix(n, (1, 1), 1)) for n in ("x", "y", "x")]
    path = write(tmp_path / "twice.mat", *elements)
    with pytest.raises(DataError, match=r"twice\.mat, variable x: expected each name"):
        MatFile(path)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_elements_are_not_listed_without_end(tmp_path, monkeypatch, n):
    monkeypatch.setattr("merps.readers.mat5_elements.MAX_VARIABLES", 3)
    elements = [matrix(f"video_{i}", (1, 1), 1) for i in range(n)]
    with MatFile(write(tmp_path / "many.mat", *elements)) as file:
        assert len(file.variables) == min(n, 3)
        assert (file.damage is not None) == (n > 3)
        assert n <= 3 or "there are too many elements" in file.damage


def peak_bytes(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path, name, said, **options):
    with MatFile(path, **options) as file, pytest.raises(DataError, match=said):
        file.read(name)


@pytest.mark.parametrize(
    ("element", "said"),
    [
        (matrix("x", (2**31 - 1, 2**31 - 1), []), "shape"),
        (matrix("x", (0, 2**31 - 1, 2**31 - 1, 2**31 - 1), []), "no array has"),
        (matrix("x", (2**20, 2**10), [], n_bytes=2**32 - 9), "the file ends"),
        (deflated(matrix("x", (2**20, 400), [], n_bytes=2**32 - 9)), "can hold"),
    ],
)
def test_impossible_sizes_are_refused_before_memory_is_taken(tmp_path, element, said):
    path = write(tmp_path / "huge.mat", element)
    assert peak_bytes(lambda: refused(path, "x", said)) < 2**20


def test_bombs_are_refused_at_their_declared_size(tmp_path):
    element = matrix("x", (1, 1000), np.zeros(1000))
    path = write(tmp_path / "bomb.mat", deflated(element + bytes(2**26)))
    assert path.stat().st_size < 2**18
    said = "inflates to more than it declares"
    assert peak_bytes(lambda: refused(path, "x", said)) < 2**20

    large = matrix("x", (2**11, 2**11), np.zeros(2**22))  # 32 MiB, as declared
    path = write(tmp_path / "large.mat", deflated(large))
    said = "at most 1000000 bytes"
    assert peak_bytes(lambda: refused(path, "x", said, max_bytes=10**6)) < 2**20
    with MatFile(path) as file:
        assert peak_bytes(lambda: file.read("x")) < 1.1 * 2**25


@pytest.mark.parametrize("missing", [1, 8, 4000])
def test_streams_that_end_early_are_refused(tmp_path, rng, missing):
    element = matrix("x", (1, 1000), rng.normal(size=1000))
    path = write(tmp_path / "short.mat", deflated(element[:-missing]))
    refused(path, "x", "inflates to less than it declares")
    data = bytearray(deflated(element)[: -1 - missing])
    data[4:8] = struct.pack("<I", len(data) - 8)
    path = write(tmp_path / "short.mat", bytes(data), matrix("y", (1, 1), 1))
    refused(path, "x", "compressed data end early")
    path = write(tmp_path / "more.mat", deflated(element, pad=b"x" * missing))
    refused(path, "x", "something follows its compressed data")


def test_too_little_memory_is_said_so(tmp_path, monkeypatch):
    path = write(tmp_path / "memory.mat", matrix("x", (2, 2), np.eye(2)))

    def full(*_, **__):
        raise MemoryError

    with MatFile(path) as file:
        monkeypatch.setattr(np, "empty", full)
        with pytest.raises(SpaceError, match=r"memory\.mat, variable x: no memory"):
            file.read("x")


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"video,valence\n1,2\n", "text that begins with 'video,valence"),
        (b"<!DOCTYPE html><html>", "text that begins"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x93NUMPY\x01\x00", "a NumPy array file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "an HDF5 file without the header"),
        (bytes(500), "unknown data that begin with the bytes 00 00"),
        (header()[:100], "a header of MATLAB 5 cut after 100 bytes"),
        (header()[:124] + b"\x00\x02IM", "unknown version marks"),
        (header()[:124] + b"\x00\x01XX", "unknown version marks"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "HDF5 says"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path, content, said):
    path = tmp_path / "other.mat"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        MatFile(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("prefix", [b"", header()])
def test_a_renamed_pickle_is_never_run(tmp_path, protocol, prefix):
    canary, path = tmp_path / "canary", tmp_path / "pickle.mat"
    content = pickle.dumps(Canary(canary), protocol)
    path.write_bytes(prefix + content)
    assert read_all(path) == {}
    assert not canary.exists()
    if protocol >= 2 and not prefix:
        with pytest.raises(DataError, match="a Python pickle, which is never loaded"):
            MatFile(path)
    pickle.loads(content)
    assert canary.exists()  # it would have been


def test_folders_pipes_and_absent_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="found a folder"):
        MatFile(tmp_path)
    os.mkfifo(tmp_path / "pipe.mat")
    with pytest.raises(DataError, match="found something that is no file"):
        MatFile(tmp_path / "pipe.mat")
    with pytest.raises(DataError, match=r"absent\.mat: cannot be opened"):
        MatFile(tmp_path / "absent.mat")


# Writing.


def test_writing_takes_the_place_of_the_old_file_only_when_complete(tmp_path):
    path = tmp_path / "out.mat"
    write_mat5(path, [("x", np.eye(2))], compress=True)
    before = path.read_bytes()

    def interrupted():
        yield "x", np.eye(3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_mat5(path, interrupted(), compress=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_mat5(path, [], compress=False)
    assert path.stat().st_size == 128
    with MatFile(path) as file:
        assert file.variables == {}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ([("x", np.eye(2)), ("x", np.eye(2))], "variable x comes twice"),
        ([("1x", np.eye(2))], "no variable called '1x'"),
        ([("_x", np.eye(2))], "no variable called '_x'"),
        ([("", np.eye(2))], "no variable called ''"),
        ([("v\u00e9lo", np.eye(2))], "no variable called"),
        ([("x" * 64, np.eye(2))], "names of 63 signs"),
        ([("x", np.eye(2, dtype=np.float16))], "must be float32 or float64"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, variables, said):
    with pytest.raises(InputError, match=said):
        write_mat5(tmp_path / "out.mat", variables, compress=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("level", [0, 10])
def test_a_level_that_zlib_lacks_is_refused(tmp_path, level):
    with pytest.raises(InputError, match=f"level must be 1 to 9, got {level}"):
        write_mat5(tmp_path / "out.mat", [], compress=True, level=level)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "absent" / "out.mat"
    with pytest.raises(SpaceError, match=r"out\.mat: cannot be written"):
        write_mat5(path, [("x", np.eye(2))], compress=True)


def test_one_variable_is_in_memory_at_a_time(tmp_path):
    def values():
        for i in range(8):
            yield f"video_{i}", np.full((64, 4096), float(i))  # 2 MiB

    path = tmp_path / "out.mat"
    write_mat5(path, values(), compress=True)  # imports happen here
    assert peak_bytes(lambda: write_mat5(path, values(), compress=True)) < 9 * 2**20
