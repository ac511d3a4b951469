"""The submission of a run: source, weights and requirements in one zip file."""

import hashlib
import os
import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from merps import __version__
from merps.config import PRESETS
from merps.datasets.manifest import MANIFEST
from merps.engine import Progress
from merps.errors import DataError, InputError
from merps.models.persistence import describe_saved, load_model
from merps.pipeline.runs import MODEL_FILES, read_fit_card
from merps.shipped import shipped
from merps.store.files import canonical, link_once, sync_folder, temporary, writing
from merps.submission.archive import pack
from merps.submission.check import CONTENTS, ENTRY, REQUIREMENTS, Bundle, check_bundle

_FORMAT = 1
# What every prediction imports, from reading recordings to writing answers.
_LIBRARIES = (
    *("h5py", "jaxtyping", "llvmlite", "numba", "numpy", "pydantic", "pyyaml"),
    *("safetensors", "scikit-learn", "scipy", "threadpoolctl", "xxhash", "zlib-ng"),
)
# What a class of models imports beside it.
_LIBRARIES_OF = {"convolutional": ("braindecode", "torch")}


def write_bundle(
    run: Path | str,
    out: Path | str,
    *,
    data: Path | str | None = None,
    overwrite: bool = False,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Bundle:
    """Write a fitted model as a zip file that answers recordings on its own.

    Its root holds ``model.py`` with ``predict(input_dir, output_dir)``, merps itself in
    ``merps/``, the model in ``run/``, ``requirements.txt``, and ``manifest.json`` with
    the digests of all files and the terms of the training data. The same run gives the
    same bytes. The file appears under its name after `check_bundle` has passed it.

    Parameters
    ----------
    run : Path
        Folder that `fit_model` wrote.
    out : Path
        The zip file to write.
    data : Path, optional
        Recordings to check it with; simulated ones if absent.
    overwrite : bool
        Replace a file that is there.
    jobs : int
        Trials at once in the check.
    progress : Progress, optional
        Told of each step of the check.

    Returns
    -------
    Bundle
        What was written, and what the check found.

    Raises
    ------
    InputError
        If the run is an evaluation, or the file is there.
    DataError
        If the run or the data are damaged, or the submission fails its check.
    SpaceError
        If the file cannot be written.
    """
    run, out = Path(run), Path(out)
    _require_free(out, overwrite)
    content = pack(_files(run))
    with ExitStack() as stack:
        with writing(out, needed_bytes=len(content)):
            out.parent.mkdir(parents=True, exist_ok=True)
            ready = stack.enter_context(temporary(out, [content]))
            os.chmod(ready, 0o600)  # what derives from licensed data is the user's own
        bundle = check_bundle(ready, data, name=out, jobs=jobs, progress=progress)
        with writing(out, needed_bytes=0):
            _publish(ready, out, overwrite)
    return bundle


def _require_free(out: Path, overwrite: bool) -> None:
    """Refuse a place before the work, not after it."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; name the zip file to write")
    if out.exists() and not overwrite:
        raise InputError(
            f"{out} exists; pass --overwrite (overwrite=True) to replace it, or choose "
            "another name"
        )


def _publish(ready: Path, out: Path, overwrite: bool) -> None:
    """Give the finished file its name, unless somebody was quicker."""
    if overwrite:
        os.replace(ready, out)
    else:
        try:
            link_once(ready, out)
        except FileExistsError as error:
            raise InputError(
                f"{out} was written by somebody else in the meantime; choose another "
                "name"
            ) from error
    sync_folder(out.parent)


def _files(run: Path) -> dict[str, bytes]:
    """Return the content of the zip file by name."""
    read_fit_card(run)
    _, card = load_model(run)  # what is sealed with the model is believed
    classes, contains = describe_saved(run)
    libraries = {*_LIBRARIES, *(n for c in classes for n in _LIBRARIES_OF.get(c, ()))}
    requirements = [f"{name}=={_release(name)}" for name in sorted(libraries)]
    files = {
        ENTRY: Path(__file__).with_name(ENTRY).read_bytes(),
        REQUIREMENTS: "".join(f"{line}\n" for line in requirements).encode(),
        **{f"merps/{name}": content for name, content in _own_source().items()},
        **{f"run/{name}": _read(run / name) for name in MODEL_FILES},
    }
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "merps": __version__,
        "python": platform.python_version(),
        "requirements": requirements,
        "model": card["name"],
        "classes": classes,
        "contains": contains,
        "source": card["data"]["source"],
        "terms": card["terms"],
        "warning": card.get("warning"),
        "files": {
            name: {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, content in files.items()
        },
    }
    return {**files, CONTENTS: canonical(manifest)}


def _own_source() -> dict[str, bytes]:
    """Return merps itself: its modules, and the files that come with them."""
    package = Path(__file__).parents[1]
    paths = {path.relative_to(package): path for path in package.rglob("*.py")}
    presets = shipped(PRESETS)
    paths |= {Path(PRESETS) / path.name: path for path in presets.glob("*.yaml")}
    paths |= {Path(name): shipped(name) for name in (MANIFEST, "LICENSE")}
    return {name.as_posix(): _read(path) for name, path in paths.items()}


def _read(path: Path) -> bytes:
    """Return the content of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _release(library: str) -> str:
    """Return the installed version, without the local build behind a plus sign."""
    return version(library).split("+")[0]
