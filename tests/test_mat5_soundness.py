import re
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from written import write_set

from merps.errors import DataError
from merps.readers.mat5_soundness import require_sound
from merps.readers.neuro import open_neuro


def things(rng):
    record = np.zeros((2, 1), dtype=[("a", object), ("b", object)])
    record["a"], record["b"] = "text", [[rng.normal(size=(2, 3))], [np.zeros((0, 0))]]
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [[1, "two"], [np.array([3.5, 4.5]), record]]
    return {
        "numbers": rng.normal(size=(5, 7)),
        "whole": np.arange(5, dtype="i2"),
        "complex": np.ones(3) + 2j,
        "logical": np.array([True, False]),
        "text": "caf\u00e9 \u03bcV",
        "texts": np.array(["one", "three"]),
        "nothing": np.zeros((0, 3)),
        "sparse": scipy.sparse.eye(4).tocsc(),
        "sparse_complex": (1j * scipy.sparse.eye(3)).tocsc(),
        "record": record,
        "cells": cells,
    }


@pytest.mark.parametrize("compress", [False, True])
def test_what_scipy_writes_is_sound(tmp_path, rng, compress):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, things(rng), do_compression=compress)
    require_sound(path)


def matrix(kind, *parts, flags=0):
    """An array of class `kind` of shape (1, 1) without a name."""
    head = struct.pack("<IIII", 6, 8, kind | flags << 8, 0)
    head += struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
    body = head + b"".join(parts)
    return struct.pack("<II", 14, len(body)) + body


def write(path, *elements):
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(head + b"".join(elements))
    return path


ONE = struct.pack("<IId", 9, 8, 1.0)
FIELDS = struct.pack("<HHi", 5, 4, 4) + struct.pack("<HH4s", 1, 4, b"a\0\0\0")


def nested(depth):
    element = matrix(6, ONE)
    for _ in range(depth):
        element = matrix(1, element)
    return element


@pytest.mark.parametrize(
    ("element", "said"),
    [
        (matrix(6, struct.pack("<IId", 99, 8, 1.0)), "values of unknown type 99"),
        (matrix(6, struct.pack("<IId", 9, 80, 1.0)), "1 numbers of 8 bytes in 80"),
        (matrix(6, ONE, flags=8), "a part that is not there"),
        (matrix(6, ONE, ONE), "16 bytes after the end of an array"),
        (matrix(99, ONE), "there is no array class 99"),
        (matrix(1, ONE), "element type 9 where an array should be"),
        (matrix(1), "1 arrays in 0 bytes"),
        (matrix(2, FIELDS), "1 arrays in 0 bytes"),
        (matrix(2, struct.pack("<HHi", 5, 4, 0), FIELDS[8:]), "field names of 0"),
        (matrix(4, struct.pack("<II", 7, 0)), "values of unknown type 7"),
        (matrix(4, struct.pack("<II8s", 16, 8, b"a" * 8)), "1 letters in 8 bytes"),
        (struct.pack("<II", 14, 1000), "it ends 1000 bytes too early"),
        (struct.pack("<II", 7, 0), "element type 7 where an array should be"),
        (b"\0\0\0", "3 bytes at its end are no element"),
        (nested(70), "arrays in arrays, more than 64 deep"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, element, said):
    path = write(tmp_path / "a.set", element)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        require_sound(path)
    assert str(path) in str(caught.value)
    if element[:4] == struct.pack("<I", 14) and len(element) > 8:
        packed = zlib.compress(element)
        write(path, struct.pack("<II", 15, len(packed)) + packed)
        with pytest.raises(DataError, match=re.escape(said)):
            require_sound(path)


@pytest.mark.parametrize("element", [matrix(6, ONE), matrix(2, FIELDS, nested(9))])
def test_arrays_written_by_hand_are_sound(tmp_path, element):
    require_sound(write(tmp_path / "a.set", element, element))


def test_a_bomb_is_refused_at_its_declared_size(tmp_path):
    packed = zlib.compress(struct.pack("<II", 14, 2**32 - 1))
    path = write(tmp_path / "a.set", struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match=r"an array of 4294967295 bytes in \d{5}\b"):
        require_sound(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"anything but MATLAB" * 20])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.set"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.set: expected a MATLAB file"):
        require_sound(path)


def test_files_of_matlab_7_are_left_to_others(tmp_path):
    path = tmp_path / "a.set"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512))
    require_sound(path)


def test_type_codes_that_crash_scipy_are_refused_before_it_looks(tmp_path, rng):
    path = write_set(tmp_path / "a.set", rng.normal(size=(2, 50)), ["Cz", "Pz"])
    data = path.read_bytes()
    places = [m.start() for m in re.finditer(struct.pack("<II", 9, 800), data)]
    assert places  # the samples
    for code in (0, 8, 10, 99, 255):
        at = places[0]
        path.write_bytes(data[:at] + struct.pack("<I", code) + data[at + 4 :])
        with pytest.raises(DataError, match=f"values of unknown type {code}"):
            open_neuro(path)
