"""What torch has for the whole process, held still while a net is used."""

import contextlib
import os
import threading
from collections.abc import Iterator

import torch

from merps.errors import InputError, SpaceError

_lock = threading.RLock()


@contextlib.contextmanager
def torch_settings(*, device: str, threads: int, seed: int) -> Iterator[None]:
    """Hold torch's global settings still, and give them back afterwards.

    Threads that come here wait for one another, since random numbers, the number of
    threads and determinism are one for the whole process. On CUDA, attention is
    computed by plain products, whose gradients are the same each time, and cuBLAS is
    told to keep to one workspace a stream, by a variable of the environment that stays.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    threads : int
        CPU threads of an operation; fixed, since sums depend on it.
    seed : int
        Of torch's random numbers.

    Yields
    ------
    None
        While the settings are held.

    Raises
    ------
    InputError
        If the device is unknown or not there.
    SpaceError
        If the device has not enough memory for what is done meanwhile.
    """
    _require_device(device)
    with _lock, contextlib.ExitStack() as stack:
        n_threads = torch.get_num_threads()
        state = torch.get_rng_state()
        strict = torch.are_deterministic_algorithms_enabled()
        lenient = torch.is_deterministic_algorithms_warn_only_enabled()
        fills = torch.utils.deterministic.fill_uninitialized_memory
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False
            if device == "cuda":
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                plain = torch.nn.attention.SDPBackend.MATH
                stack.enter_context(torch.nn.attention.sdpa_kernel(plain))
                stack.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state())
            torch.manual_seed(seed)
            yield
        except torch.OutOfMemoryError as error:
            raise SpaceError(
                f"device={device} has not enough memory; run with fewer jobs, or take "
                "a smaller batch_size"
            ) from error
        finally:
            torch.set_num_threads(n_threads)
            torch.use_deterministic_algorithms(strict, warn_only=lenient)
            torch.utils.deterministic.fill_uninitialized_memory = fills
            torch.set_rng_state(state)


def _require_device(device: str) -> None:
    """Refuse a device that is not there."""
    there = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if device not in there:
        raise InputError(f"no device {device!r}; there are {', '.join(there)}")
    if not there[device]():
        raise InputError(
            f"device={device} is not there: torch {torch.__version__} finds none on "
            "this machine; install the build of torch for it, or take device=cpu"
        )
