"""A fitted model as a zip file that answers recordings on its own, and its check."""

import importlib
from typing import Any

# Loaded when first asked for: the models behind them are heavy.
_HOMES = {
    "Bundle": "merps.submission.check",
    "check_bundle": "merps.submission.check",
    "write_bundle": "merps.submission.bundle",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'merps.submission' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
