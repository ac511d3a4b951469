"""The entry point of a submission: answers a folder of recordings.

In a submission this file lies as ``model.py`` beside a copy of merps, in ``merps/``,
and a fitted model, in ``run/``.
"""

import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent


def predict(input_dir: str | Path, output_dir: str | Path) -> None:
    """Write ``predictions.csv`` for a folder of recordings.

    Whoever is in the folder is answered: each id of ``sample_ids.csv`` once and in that
    order or, without it, each second of each recording. Nothing else is left behind,
    and no network is used.

    Parameters
    ----------
    input_dir : str or Path
        Folder with ``data/<person>/`` and, usually, ``sample_ids.csv``.
    output_dir : str or Path
        Folder for ``predictions.csv``; made if absent.
    """
    source, target = Path(input_dir).resolve(), Path(output_dir).resolve()
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(
            prefix="merps-", dir=_roomy(source, target), ignore_cleanup_errors=True
        ) as private,
        _environment(HOME=private, MERPS_CACHE_DIR=private),
        _own_merps() as merps,
        _log_lines() as logger,
    ):
        logger.info("merps %s from %s", merps.__version__, _HERE)
        pipeline = importlib.import_module("merps.pipeline")
        predicted = pipeline.predict_dataset(
            _HERE / "run",
            source,
            target / "predictions.csv",
            store=Path(private) / "store",
        )
        for where, message in predicted.preprocessed.failed:
            logger.warning("%s: %s", where, message)
        logger.info(
            "%d ids answered, %d of them without any signal that the model uses",
            len(predicted.ids),
            predicted.without_signals,
        )


def _roomy(source: Path, target: Path) -> Path:
    """Return a place for as much as there are recordings; the answers' if need be."""
    needed = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    try:
        usual = Path(tempfile.gettempdir())
    except FileNotFoundError:  # none of the usual places can be written
        return target
    places = {place: shutil.disk_usage(place).free for place in (usual, target)}
    return usual if places[usual] > needed else max(places, key=places.__getitem__)


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while: caches go where all goes away."""
    former = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _own_merps() -> Iterator[ModuleType]:
    """Import the merps beside this file, whichever others are installed or loaded."""
    loaded = sys.modules.get("merps")
    strangers = {} if loaded is None or _is_own(loaded) else _forget_merps()
    writes_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(_HERE))
    try:
        merps = importlib.import_module("merps")
        if not _is_own(merps):
            raise ImportError(
                f"merps was imported from {merps.__file__}, not from {_HERE}"
            )
        yield merps
    finally:
        sys.path.remove(str(_HERE))
        sys.dont_write_bytecode = writes_bytecode
        if strangers:
            _forget_merps()
            sys.modules.update(strangers)


def _is_own(merps: ModuleType) -> bool:
    """Tell whether a module is the merps beside this file."""
    return (
        merps.__file__ is not None and _HERE in Path(merps.__file__).resolve().parents
    )


def _forget_merps() -> dict[str, ModuleType]:
    """Take merps out of the loaded modules, and return what was taken."""
    names = [n for n in sys.modules if n == "merps" or n.startswith("merps.")]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def _log_lines() -> Iterator[logging.Logger]:
    """Send what merps has to tell to standard error."""
    logger = logging.getLogger("merps")
    former = (logger.level, logger.propagate)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = former
