"""MNE-Python without its messages, also from several threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
#: The level to go back to, and how many threads still want silence.
_former: list[str | int] = []
_users = 0


@contextmanager
def quiet_mne() -> Iterator[None]:
    """Keep MNE-Python from logging what is no error.

    Its own keyword `verbose` sets one level for all threads and then sets it back, so
    that threads undo each other's silence; here, the last one out does that.
    """
    global _users
    import mne

    with _lock:
        if _users == 0:
            _former.append(mne.set_log_level("error", return_old_level=True))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                mne.set_log_level(_former.pop())
