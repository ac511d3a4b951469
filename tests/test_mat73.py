import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from merps.errors import DataError, MerpsError
from merps.readers.mat5 import MatFile

CLASSES = (
    *("double", "single", "int8", "uint8", "int16", "uint16"),
    *("int32", "uint32", "int64", "uint64"),
)


def add_header(path):
    """Turn an HDF5 file with a user block into a file of MATLAB 7.3."""
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, by hand".ljust(124) + b"\x00\x02IM")
    return path


def write(path, fill):
    with h5py.File(path, "w", userblock_size=512) as file:
        fill(file)
    return add_header(path)


def put(file, name, value, *, matlab_class=None, **options):
    """Store an array as MATLAB does: axes reversed, its class beside it."""
    dataset = file.create_dataset(name, data=value.T, **options)
    native = value.dtype.newbyteorder("=")
    known = [name for name in CLASSES if np.dtype(name) == native]
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class or known[0])
    return dataset


def put_raw_chunk(file, name, shape, raw, *, deflate=1, chunks=None):
    """Store a single chunk of float64 whose compressed bytes are made by hand."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(chunks or shape)
    for _ in range(deflate):
        properties.set_deflate(1)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.IEEE_F64LE
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
    if raw is not None:
        dataset.write_direct_chunk((0,) * len(shape), raw)
    file[name].attrs["MATLAB_class"] = np.bytes_("double")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mat73")


numeric = st.sampled_from([np.dtype(name) for name in CLASSES]).flatmap(
    lambda dtype: arrays(
        st.sampled_from([dtype, dtype.newbyteorder(">")]),
        array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
    )
)


@given(
    value=numeric,
    gzip=st.sampled_from([None, 0, 1, 9]),
    shuffle=st.booleans(),
    chunk=st.integers(0, 4),
)
def test_reads_what_h5py_wrote(folder, value, gzip, shuffle, chunk):
    options = {}
    if chunk:
        sides = tuple(min(chunk, n) for n in value.shape[::-1])
        options = {"chunks": sides, "shuffle": shuffle}
        if gzip is not None:
            options |= {"compression": "gzip", "compression_opts": gzip}
    path = folder / "property.mat"
    write(path, lambda file: put(file, "video_1", value, **options))
    with MatFile(path) as file:
        assert file.damage is None
        actual = file.read("video_1")
        variable = file.variables["video_1"]
    assert (variable.shape, variable.n_bytes) == (actual.shape, actual.nbytes)
    assert actual.dtype == np.dtype(variable.matlab_class)
    assert actual.flags.f_contiguous
    native = value.astype(value.dtype.newbyteorder("="))
    np.testing.assert_array_equal(actual, native, strict=True)


def test_empty_arrays_and_absent_classes(tmp_path):
    def fill(file):
        empty = file.create_dataset("empty", data=np.uint64([0, 5]))
        empty.attrs["MATLAB_class"] = np.bytes_("single")
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        file["bare"] = np.ones((2, 3), "i2")
        lie = file.create_dataset("lie", data=np.uint64([3, 5]))
        lie.attrs["MATLAB_class"] = np.bytes_("double")
        lie.attrs["MATLAB_empty"] = np.uint8(1)
        huge = file.create_dataset("huge", data=np.uint64([0, 2**40, 2**40]))
        huge.attrs["MATLAB_class"] = np.bytes_("double")
        huge.attrs["MATLAB_empty"] = np.uint8(1)
        narrow = file.create_dataset("narrow", data=np.ones((2, 2), "u1"))
        narrow.attrs["MATLAB_class"] = np.bytes_("double")

    with MatFile(write(tmp_path / "empty.mat", fill)) as file:
        np.testing.assert_array_equal(
            file.read("empty"), np.empty((0, 5), "f4"), strict=True
        )
        np.testing.assert_array_equal(
            file.read("bare"), np.ones((3, 2), "i2"), strict=True
        )
        for name, said in [
            ("lie", r"marked as empty but has the shape \(3, 5\)"),
            ("huge", "marked as empty but has the shape"),
            ("narrow", "stored as uint8, not float64"),
        ]:
            with pytest.raises(
                DataError, match=rf"empty\.mat, variable {name}.*{said}"
            ):
                file.read(name)
            assert name in file.damage


def test_what_is_no_array_in_this_file_is_named_and_skipped(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"s" * 64)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = np.ones((2, 2))

    def fill(file):
        put(file, "signal", np.eye(3))
        put(file, "text", np.ones((1, 3), "u2"), matlab_class="char")
        put(file, "yes", np.ones((1, 3), "u1"), matlab_class="logical")
        waves = np.ones((2, 2), [("real", "f8"), ("imag", "f8")])
        put(file, "waves", waves, matlab_class="double")
        file.create_group("structure").attrs["MATLAB_class"] = np.bytes_("struct")
        file.create_group("sparse").attrs["MATLAB_sparse"] = np.uint64(3)
        put(file, "table", np.ones((1, 6), "u4"), matlab_class="table")
        put(file, "filter", np.eye(3), compression="lzf")
        file["nothing"] = h5py.Empty("f8")
        file["words"] = "free text"
        file["soft"] = h5py.SoftLink("/signal")
        file["outside"] = h5py.ExternalLink(str(other), "x")
        put(file, "raw", np.zeros((2, 4)), external=[(str(secret), 0, 64)])
        layout = h5py.VirtualLayout((2, 2), "f8")
        layout[:] = h5py.VirtualSource(str(other), "x", (2, 2))
        file.create_virtual_dataset("virtual", layout)
        file.create_group("#refs#")

    with MatFile(write(tmp_path / "mixed.mat", fill)) as file:
        assert list(file.variables) == ["signal"]
        assert file.damage is None
        for name, reason in file.skipped.items():
            with pytest.raises(DataError, match=rf"mixed\.mat, variable {name}"):
                file.read(name)
            assert reason
        reasons = file.skipped
    assert reasons["text"] == "text (char)"
    assert reasons["yes"] == "a logical array"
    assert reasons["waves"] == "complex numbers"
    assert reasons["structure"] == "a structure"
    assert reasons["sparse"] == "a sparse matrix"
    assert "filter" in reasons["filter"]
    for name in ("soft", "outside", "raw", "virtual"):
        assert "never followed" in reasons[name]
    assert len(reasons) == 13


def peak_bytes(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "raw", "options", "said"),
    [
        ((4, 8), zlib.compress(bytes(2**25)), {}, "does not inflate to its 256"),
        ((4, 8), zlib.compress(bytes(255)), {}, "does not inflate to its 256"),
        ((4, 8), zlib.compress(bytes(256))[:-2], {}, "does not inflate to its 256"),
        ((4, 8), b"not zlib at all", {}, "compressed data are damaged"),
        ((4, 8), bytes(2**22), {}, "a chunk of 256 bytes is stored in 4194304"),
        ((2**12, 2**12), zlib.compress(bytes(100)), {}, "stored bytes can hold"),
        ((2**12, 2**12), None, {}, "0 of its 1 chunks"),
        ((4, 8), bytes(100), {"deflate": 2}, "compressed more than once"),
        ((4, 8), bytes(100), {"deflate": 0}, "stored bytes can hold"),
        ((4, 8), bytes(256), {"chunks": (2, 8), "deflate": 0}, "1 of its 2 chunks"),
    ],
)
def test_chunks_that_lie_are_refused_before_memory_is_taken(
    tmp_path, shape, raw, options, said
):
    path = tmp_path / "bomb.mat"
    write(path, lambda file: put_raw_chunk(file, "x", shape, raw, **options))

    def refused():
        with MatFile(path) as file, pytest.raises(DataError, match=said):
            file.read("x")

    refused()  # imports happen here
    limit = 2**20 if raw is None or len(raw) < 2**20 else 2 * len(raw)
    assert peak_bytes(refused) < limit


def test_large_variables_are_refused_at_their_declared_size(tmp_path):
    path = write(tmp_path / "large.mat", lambda file: put(file, "x", np.eye(300)))
    with MatFile(path, max_bytes=10**5) as file:
        assert file.variables["x"].n_bytes == 720_000
        with pytest.raises(DataError, match="at most 100000 bytes"):
            file.read("x")


def test_names_that_cannot_be_printed_are_damage(tmp_path):
    def fill(file):
        file[b"\xff\xfe"] = np.eye(2)
        file["line\nbreak"] = np.eye(2)
        put(file, "x", np.eye(2))

    with MatFile(write(tmp_path / "names.mat", fill)) as file:
        assert list(file.variables) == ["x"]
        assert "its name cannot be printed" in file.damage
        assert "\n" not in file.damage


def test_numbers_never_written_are_not_read_as_zeros(tmp_path):
    def fill(file):
        dataset = file.create_dataset("x", (50, 50), "f8")
        dataset.attrs["MATLAB_class"] = np.bytes_("double")

    with (
        MatFile(write(tmp_path / "unwritten.mat", fill)) as file,
        pytest.raises(DataError, match="declares 20000 bytes and stores 0"),
    ):
        file.read("x")


def test_cut_files_raise_nothing_but_our_errors(tmp_path, rng):
    value = rng.normal(size=(6, 30))
    path = write(
        tmp_path / "cut.mat",
        lambda file: put(file, "x", value, chunks=(10, 6), compression="gzip"),
    )
    data = path.read_bytes()
    for cut in [*range(0, 520, 40), *range(520, len(data), 211), len(data) - 1]:
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.mat"), MatFile(path) as file:
            file.read("x")


def test_damaged_chunks_are_told_from_whole_ones(tmp_path, rng):
    values = {f"video_{i}": rng.normal(size=(8, 40)) for i in range(3)}

    def fill(file):
        for name, value in values.items():
            put(file, name, value, chunks=(20, 8), compression="gzip", shuffle=True)

    path = write(tmp_path / "flip.mat", fill)
    with h5py.File(path) as file:
        place = file["video_1"].id.get_chunk_info(1)
    data = path.read_bytes()
    for at in range(0, place.size, 23):
        changed = bytearray(data)
        changed[place.byte_offset + at] ^= 1 << at % 8
        path.write_bytes(changed)
        with MatFile(path) as file:
            for name in ("video_0", "video_2"):
                np.testing.assert_array_equal(file.read(name), values[name])
            with pytest.raises(MerpsError, match=r"flip\.mat, variable video_1"):
                file.read("video_1")
