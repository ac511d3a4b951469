"""What torch has for the whole process, held still while a net is used."""

import contextlib
import threading
from collections.abc import Iterator

import torch

from merps.errors import InputError

_lock = threading.RLock()


@contextlib.contextmanager
def torch_settings(*, device: str, threads: int, seed: int) -> Iterator[None]:
    """Hold torch's global settings still, and give them back afterwards.

    Threads that come here wait for one another, since random numbers, the number of
    threads and determinism are one for the whole process.

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
    """
    _require_device(device)
    with _lock:
        n_threads = torch.get_num_threads()
        state = torch.get_rng_state()
        strict = torch.are_deterministic_algorithms_enabled()
        lenient = torch.is_deterministic_algorithms_warn_only_enabled()
        fills = torch.utils.deterministic.fill_uninitialized_memory
        try:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False
            torch.manual_seed(seed)
            yield
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
