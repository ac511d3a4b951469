"""Runs an unpacked submission as a stranger's machine would; for `python -I` alone.

Takes an order as JSON on standard input and writes a report. Only what the order's
`requirements.txt` brings can be imported, merps only from the submission, and there is
no network.
"""

import importlib.util
import json
import resource
import sys
import time
from collections.abc import Collection, Sequence
from importlib.machinery import (
    BuiltinImporter,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
)
from pathlib import Path
from types import ModuleType
from typing import Any

_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")


class _Masked(PathFinder):
    """Finds modules as usual, but not what the requirements do not bring."""

    def __init__(self, bundle: Path, hidden: Collection[str]) -> None:
        self._bundle, self._hidden = bundle, set(hidden)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; a hidden one is not there, nor another merps."""
        if name in self._hidden:
            return None
        spec = super().find_spec(name, path, target)
        if name == "merps" and spec and not _is_below(spec.origin, self._bundle):
            return None
        return spec


def _no_network(event: str, _: tuple[Any, ...]) -> None:
    """Refuse to reach anyone."""
    if event in _NETWORK:
        raise OSError(f"{event}: a submission has no network")


def _is_below(place: str | None, folder: Path) -> bool:
    """Tell whether a file is in a folder."""
    return place is not None and folder in Path(place).resolve().parents


def _peak_mb() -> float:
    """Return the peak resident memory of this program in megabytes."""
    try:  # what the kernel tells of a process includes who it was before it started
        status = Path("/proc/self/status").read_text()
        line = next(text for text in status.splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Run the order."""
    order = json.load(sys.stdin)
    bundle = Path(order["bundle"]).resolve()
    sys.path[:] = order["path"]
    masked = _Masked(bundle, order["hidden"])
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, masked]
    sys.addaudithook(_no_network)
    started = time.monotonic()
    sys.dont_write_bytecode = True  # whoever imports a submission decides on that
    spec = importlib.util.spec_from_file_location("model", bundle / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    sys.dont_write_bytecode = False
    model.predict(order["input_dir"], order["output_dir"])
    seconds = time.monotonic() - started
    own = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "merps"}
    report = {
        "seconds": seconds,
        "peak_mb": _peak_mb(),
        "merps": own["merps"].__file__,
        "elsewhere": [n for n, m in own.items() if not _is_below(m.__file__, bundle)],
    }
    Path(order["report"]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
