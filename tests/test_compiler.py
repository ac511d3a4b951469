import logging
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numba import TypingError

from merps.kernels import compiler
from merps.kernels.compiler import cache_folder, kernel

TYPES = ("f8[:, ::1], i8, f8, f8[:, ::1]", "f4[:, ::1], i8, f8, f8[:, ::1]")


def add_rows(x_tc, n_times, scale, out_tc):
    """Add scaled rows; at module level, since Numba reads the source."""
    for t in range(n_times):
        for c in range(x_tc.shape[1]):
            out_tc[t, c] += x_tc[t, c] * scale


def draw(n, out_n):
    """Draw numbers, which needs Numba at run time."""
    for i in range(n):
        out_n[i] = np.random.random() + i  # noqa: NPY002


def take_memory(n, out_n):
    """Make an array, which a kernel must not."""
    held = np.zeros(n)
    for i in range(n):
        out_n[i] = held[i] + i


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MERPS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.setattr(compiler, "_warned", type(compiler._warned)())
    return tmp_path / "kernels"


def check(compiled, rng, dtype=np.float64):
    x_tc = rng.normal(size=(5, 3)).astype(dtype)
    x_tc[2, 1] = np.nan
    x_tc.flags.writeable = False
    out_tc = np.ones((5, 3))
    compiled(x_tc, 4, 2.0, out_tc)
    expected = np.ones((5, 3))
    expected[:4] += x_tc[:4] * 2.0
    np.testing.assert_allclose(out_tc, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_does_what_its_loop_does(cache, monkeypatch, rng, dtype):
    check(kernel(*TYPES)(add_rows), rng, dtype)
    (kept,) = cache.iterdir()
    assert kept.suffix == ".o"
    monkeypatch.setattr(compiler, "_build", None)
    check(kernel(*TYPES)(add_rows), rng, dtype)  # now from the file


def test_numbers_may_be_of_numpy(cache):
    out_tc = np.zeros((1, 1))
    kernel(*TYPES)(add_rows)(np.ones((1, 1)), np.int32(1), np.float64(3), out_tc)
    assert out_tc == 3


def test_a_later_process_loads_the_code_without_numba(cache, tmp_path):
    code = """
        import sys, time
        import numpy as np
        from merps.kernels.filtering import filter_rows
        x_tgc = np.ones((4, 1, 2))
        sections = np.array([[1.0, 2.0, 1.0, 1.0, -0.5, 0.25]])
        filter_rows(sections, 0, 1, 4, 0, *np.zeros((2, 1, 2)), x_tgc)
        print(x_tgc[:, 0, 0].tolist(), "numba" in sys.modules)
    """
    results = []
    for _ in range(2):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ran.stderr == ""
        results.append(ran.stdout.split("]"))
    assert results[0][0] == results[1][0]
    assert results[0][1].strip() == "True"
    assert results[1][1].strip() == "False"


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text", "symbol"])
def test_damaged_code_is_never_run(cache, monkeypatch, rng, harm):
    check(kernel(*TYPES)(add_rows), rng)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    digest, _, code = whole.split(b"\n", 2)
    harmed = {
        "cut": whole[: len(whole) // 2],
        "flip": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "empty": b"",
        "text": b"no object at all",
        "symbol": b"\n".join([digest, b"no_such_symbol", code]),
    }[harm]
    kept.write_bytes(harmed)
    check(kernel(*TYPES)(add_rows), rng)
    monkeypatch.setattr(compiler, "_build", None)  # it was mended, and is loaded now
    check(kernel(*TYPES)(add_rows), rng)


def test_a_folder_that_cannot_be_written_costs_one_warning(
    tmp_path, monkeypatch, rng, caplog
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MERPS_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.setattr(compiler, "_warned", type(compiler._warned)())
    with caplog.at_level(logging.WARNING):
        check(kernel(*TYPES)(add_rows), rng)
        check(kernel(*TYPES)(add_rows), rng)
        check(kernel(*TYPES)(add_rows), rng, np.float32)
    (record,) = caplog.records
    assert "compiled code cannot be kept" in record.getMessage()
    assert "MERPS_CACHE_DIR" in record.getMessage()


def test_code_that_needs_numba_is_compiled_each_time(cache):
    out_n = np.zeros(4)
    kernel("i8, f8[::1]")(draw)(4, out_n)
    np.testing.assert_array_equal(np.floor(out_n), [0, 1, 2, 3])
    assert not cache.exists()


def test_kernels_make_no_arrays(cache):
    with pytest.raises(TypingError, match="No implementation of function"):
        kernel("i8, f8[::1]")(take_memory)(4, np.zeros(4))


def test_other_types_and_layouts_are_refused(cache):
    compiled = kernel(*TYPES)(add_rows)
    out_tc = np.zeros((2, 3))
    with pytest.raises(TypeError, match="add_rows takes f8"):
        compiled(np.zeros((2, 3), np.int16), 2, 1.0, out_tc)
    with pytest.raises(TypeError, match="add_rows takes f8"):
        compiled(np.zeros((2, 3)), 2.0, 1.0, out_tc)
    with pytest.raises(TypeError, match="C-contiguous"):
        compiled(np.zeros((3, 2)).T, 2, 1.0, out_tc)
    with pytest.raises(TypeError, match="native"):
        compiled(np.zeros((2, 3), ">f8"), 2, 1.0, out_tc)


def test_what_is_read_only_is_not_written(cache):
    out_tc = np.zeros((2, 3))
    out_tc.flags.writeable = False
    with pytest.raises(TypeError, match="add_rows writes into arrays, and one is read"):
        kernel(*TYPES)(add_rows)(np.ones((2, 3)), 2, 1.0, out_tc)


@pytest.mark.parametrize("open_to", ["folder", "file"])
def test_code_that_others_can_write_to_is_not_run(
    cache, monkeypatch, rng, caplog, open_to
):
    check(kernel(*TYPES)(add_rows), rng)
    (kept,) = cache.iterdir()
    (cache if open_to == "folder" else kept).chmod(0o777)
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_build", lambda *_: pytest.fail("as it should"))
        with pytest.raises(pytest.fail.Exception, match="as it should"):
            check(kernel(*TYPES)(add_rows), rng)
    with caplog.at_level(logging.WARNING):
        check(kernel(*TYPES)(add_rows), rng)
    assert ("not this user's alone" in caplog.text) == (open_to == "folder")


def test_without_a_home_the_code_is_compiled_with_one_warning(monkeypatch, rng, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("MERPS_CACHE_DIR", "XDG_CACHE_HOME", "NUMBA_DISABLE_JIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compiler, "_warned", type(compiler._warned)())
    monkeypatch.setattr(compiler.Path, "home", no_home)
    with caplog.at_level(logging.WARNING):
        check(kernel(*TYPES)(add_rows), rng)
        check(kernel(*TYPES)(add_rows), rng)
    (record,) = caplog.records
    assert "Could not determine home directory" in record.getMessage()


def test_what_decides_the_code_names_its_file(cache, monkeypatch, rng):
    def scale_rows(x_tc, n_times, scale, out_tc):
        for t in range(n_times):
            for c in range(x_tc.shape[1]):
                out_tc[t, c] += x_tc[t, c] * scale * 1

    check(kernel(*TYPES)(add_rows), rng)
    check(kernel(*TYPES)(scale_rows), rng)
    monkeypatch.setenv("NUMBA_OPT", "1")
    check(kernel(*TYPES)(add_rows), rng)
    assert len(list(cache.iterdir())) == 3


def test_plain_python_runs_where_compiling_is_off(cache, monkeypatch, rng):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    check(kernel(*TYPES)(add_rows), rng)
    assert not cache.exists()


def test_the_folder_follows_the_conventions_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("MERPS_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path / "kernels"
    monkeypatch.delenv("MERPS_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "merps" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parts[-3:] == (".cache", "merps", "kernels")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-4:] == ("Library", "Caches", "merps", "kernels")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of Unix")
def test_the_folder_is_private(cache, rng):
    check(kernel(*TYPES)(add_rows), rng)
    assert cache.stat().st_mode & 0o077 == 0
