"""Compiles loops with Numba once, and loads them later without Numba.

Importing Numba and bringing it up takes most of a second, more than the work on a
short recording. The machine code of a loop is therefore kept in a folder of the user,
and a later process maps it through llvmlite alone.
"""

import ctypes
import functools
import inspect
import logging
import os
import platform
import re
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

logger = logging.getLogger(__name__)

# Raised when what is compiled from the same source changes.
_FORMAT = 1
#: Of the fast-math flags only those that keep NaN, infinity and the order of sums.
_FLAGS = {"contract", "nsz"}
_ARGUMENT = re.compile(r"([fiu][1248])(\[(?::, ?)*::1\])?")
#: What machine code may call without Numba: the C library's mathematics.
_LIBRARY = {
    *("exp", "log", "sqrt", "fabs", "sin", "cos", "pow", "fma", "floor", "ceil"),
    *("expf", "logf", "sqrtf", "fabsf", "memset", "memcpy", "memmove", "bzero"),
}
_lock = threading.RLock()
_warned = threading.Event()


class Kernel:
    """A loop that is compiled, or loaded, when it is first called.

    Calls release the interpreter lock. With ``NUMBA_DISABLE_JIT=1`` in the environment
    the loop runs as plain Python.

    Parameters
    ----------
    loop : callable
        Takes C-contiguous arrays and numbers, writes into its ``out`` arrays.
    signatures : sequence of str
        Types of the arguments, as Numba writes them; one entry per choice of types.
    """

    def __init__(self, loop: Callable, signatures: Sequence[str]) -> None:
        self.loop = inspect.unwrap(loop)
        self.name = f"{self.loop.__module__}.{self.loop.__qualname__}"
        self.signatures = {_parse(text): text for text in signatures}
        code = self.loop.__code__
        names = code.co_varnames[: code.co_argcount]
        self._written = [n for n, name in enumerate(names) if name.startswith("out_")]
        self._compiled: dict[tuple, _Code] = {}
        functools.update_wrapper(self, self.loop)

    def __call__(self, *arguments: Any) -> None:
        """Run the loop."""
        if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            self.loop(*arguments)
            return
        kinds = tuple(map(_kind, arguments))
        code = self._compiled.get(kinds) or self._compile(kinds)
        if not all(arguments[n].flags.writeable for n in self._written):
            raise TypeError(f"{self.name} writes into arrays, and one is read-only")
        code(arguments)

    def prepare(self) -> None:
        """Compile or load every choice of types."""
        for kinds in self.signatures:
            self._compile(kinds)

    def _compile(self, kinds: tuple[tuple[str, int], ...]) -> "_Code":
        """Load the code for these types, compiling it if need be."""
        if kinds not in self.signatures:
            raise TypeError(
                f"{self.name} takes {' or '.join(self.signatures.values())}, "
                f"got {kinds}"
            )
        with _lock:
            if kinds not in self._compiled:
                signature = self.signatures[kinds]
                self._compiled[kinds] = _load(self, signature) or _build(
                    self, signature
                )
            return self._compiled[kinds]


def kernel(*signatures: str) -> Callable[[Callable], Kernel]:
    """Compile a loop for these types of arguments; NaN keeps its meaning."""

    def wrap(loop: Callable) -> Kernel:
        return Kernel(loop, signatures)

    return wrap


class _Code:
    """Machine code at an address, called as Numba calls its own functions."""

    def __init__(self, address: int, keep: Any) -> None:
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32)(address)
        self._keep = keep  # whoever owns the memory of the code

    def __call__(self, arguments: Sequence[Any]) -> None:
        result, problem = ctypes.c_void_p(), ctypes.c_void_p()
        flat: list[Any] = [ctypes.byref(result), ctypes.byref(problem)]
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                flat += (None, None)  # no owner: the caller holds the array
                flat += map(ctypes.c_int64, (argument.size, argument.itemsize))
                flat.append(ctypes.c_void_p(argument.ctypes.data))
                flat += map(ctypes.c_int64, (*argument.shape, *argument.strides))
            elif isinstance(argument, (float, np.floating)):
                flat.append(ctypes.c_double(argument))
            else:
                flat.append(ctypes.c_int64(argument))
        if status := self._function(*flat):
            raise RuntimeError(f"compiled code ended with status {status}")


def _parse(signature: str) -> tuple[tuple[str, int], ...]:
    """Return type and number of axes of each argument."""
    found = _ARGUMENT.findall(signature)
    return tuple((code, axes.count(":") - 1 if axes else 0) for code, axes in found)


def _kind(argument: Any) -> tuple[str, int]:
    """Return type and number of axes of an argument."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        if not (flags.c_contiguous and flags.aligned and argument.dtype.isnative):
            raise TypeError("a kernel takes C-contiguous arrays of native byte order")
        return argument.dtype.str[1:], argument.ndim
    return ("f8" if isinstance(argument, (float, np.floating)) else "i8"), 0


def _build(kernel: Kernel, signature: str) -> _Code:
    """Compile with Numba, and keep the machine code for later processes."""
    import numba

    logger.debug("compiling %s for %s", kernel.name, signature)
    compiled = numba.njit(
        f"void({signature})",
        nogil=True,
        fastmath=_FLAGS,
        error_model="numpy",
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        _nrt=False,  # no arrays are made, so no references are counted
    )(kernel.loop)
    (result,) = compiled.overloads.values()
    library, symbol = result.library, result.fndesc.llvm_func_name
    if _needs_numba(library):
        logger.debug("%s calls Numba and is compiled in each process", kernel.name)
    else:
        *_, (machine_code, _) = library.serialize_using_object_code()
        _save(kernel, signature, symbol, machine_code)
    return _Code(library.get_pointer_to_function(symbol), compiled)


def _needs_numba(library: Any) -> bool:
    """Tell whether compiled code calls anything beyond the C library."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(library.get_llvm_str())
    called = {f.name for f in module.functions if f.is_declaration}
    return any(name not in _LIBRARY and name[:5] != "llvm." for name in called)


def _save(kernel: Kernel, signature: str, symbol: str, machine_code: bytes) -> None:
    """Keep machine code in the user's folder; warn once where that cannot be."""
    body = symbol.encode() + b"\n" + machine_code
    digest = xxhash.xxh3_128_hexdigest(body).encode()
    try:
        path = _path(kernel, signature)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(path.parent)
        private = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with open(os.open(private, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(digest + b"\n" + body)
            os.replace(private, path)
        finally:
            private.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        if not _warned.is_set():
            _warned.set()
            logger.warning(
                "compiled code cannot be kept (%s), so every start compiles it anew; "
                "set MERPS_CACHE_DIR to a folder that only you can write to",
                error,
            )


def _load(kernel: Kernel, signature: str) -> _Code | None:
    """Load what `_save` kept for the same loop, processor and compiler."""
    import llvmlite.binding as llvm

    # No such file, no home, not written by this user, damaged: compiled anew.
    with suppress(OSError, RuntimeError, ValueError):
        path = _path(kernel, signature)
        _require_own(path.parent)
        _require_own(path)
        digest, body = path.read_bytes().split(b"\n", 1)
        if xxhash.xxh3_128_hexdigest(body).encode() != digest:
            raise ValueError("damaged")
        symbol, machine_code = body.split(b"\n", 1)
        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
        engine.finalize_object()
        return _Code(engine.get_function_address(symbol.decode()), engine)
    return None


def _require_own(path: Path) -> None:
    """Refuse a place that someone else can write to: what is in it will be run."""
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} is not this user's alone")


def _engine() -> Any:
    """Return an empty engine of LLVM for this machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _path(kernel: Kernel, signature: str) -> Path:
    """Name the file of a kernel by everything that decides its machine code."""
    code, known = kernel.loop.__code__, kernel.loop.__globals__
    constants = {name: known.get(name) for name in code.co_names}
    numbers = {n: v for n, v in constants.items() if isinstance(v, (int, float))}
    parts = (
        *(_FORMAT, signature, sorted(_FLAGS), sorted(numbers.items())),
        *(code.co_code, code.co_consts, code.co_names, code.co_varnames),
        *(sys.version, platform.machine(), platform.libc_ver(), _processor()),
        _versions(),
        sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_")),
    )
    digest = xxhash.xxh3_128_hexdigest(repr(parts).encode())
    return cache_folder() / f"{kernel.name}-{digest}.o"


@functools.cache
def _versions() -> tuple[str, ...]:
    """Versions of what compiles, without importing it."""
    from importlib.metadata import version

    return version("numba"), version("llvmlite")


@functools.cache
def _processor() -> tuple[str, str]:
    """Name and abilities of the processor."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def cache_folder() -> Path:
    """Return where compiled code is kept."""
    if chosen := os.environ.get("MERPS_CACHE_DIR"):
        return Path(chosen) / "kernels"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "merps" / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "merps" / "kernels"
