"""The reading and writing of configuration files and presets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from merps.documents import MAX_BYTES, Document
from merps.errors import ConfigError
from merps.options import Config
from merps.sections import Section
from merps.shipped import shipped

#: Folder of the configurations that come with merps.
PRESETS = "configs"

Options = TypeVar("Options", bound=Section)


def load_config(
    source: str | Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Read a configuration, with defaults for what it does not say.

    Parameters
    ----------
    source : str or Path, optional
        A YAML file, or the name of a preset such as ``default``.
    overrides : sequence of str
        Options that win over the file, as ``preprocess.eeg.to_hz=100``; the value is
        YAML on one line.

    Returns
    -------
    Config
        Every option.

    Raises
    ------
    ConfigError
        With every problem found: where, which option, what is wrong, what was meant.
    """
    return load_section(Config, source, overrides)


def load_section(
    kind: type[Options],
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Options:
    """Read one kind of options, as `load_config` reads those of merps.

    Parameters
    ----------
    kind : type
        The section that the file holds.
    source : str or Path, optional
        A YAML file; presets are of `Config` only.
    overrides : sequence of str
        As for `load_config`.

    Returns
    -------
    Section
        Of that kind.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    document = Document()
    if source is not None:
        presets = preset_names() if kind is Config else ()
        document.read(*_open_source(source, presets))
    for override in overrides:
        document.override(override)
    problems = list(document.problems)
    try:
        config = kind.model_validate(document.tree)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        trails = [detail["loc"] for detail in details]
        problems += [
            _explain(document, detail, kind)
            for detail, trail in zip(details, trails, strict=True)
            # A list without its bad items is not too short.
            if not any(trail == other[: len(trail)] != other for other in trails)
        ]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return config


def dump_config(config: Config) -> str:
    """Write every option as YAML that `load_config` reads back.

    Parameters
    ----------
    config : Config
        The options.

    Returns
    -------
    str
        A YAML document.
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def preset_names() -> tuple[str, ...]:
    """Return the names of the configurations that come with merps.

    Returns
    -------
    tuple of str
        Sorted names.
    """
    names = (entry.name for entry in shipped(PRESETS).iterdir())
    return tuple(sorted(n[:-5] for n in names if n.endswith(".yaml")))


def _open_source(source: str | Path, presets: Sequence[str]) -> tuple[str, str]:
    """Return the name and the text of a file or a preset."""
    entry = path = Path(source)
    if not path.is_file() and str(source) in presets:
        entry = shipped(PRESETS) / f"{path.name}.yaml"
    if not entry.is_file():
        known = f" or a preset ({', '.join(presets)})" if presets else ""
        found = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(f"{source}: expected a YAML file{known}, found {found}")
    try:
        with entry.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as text ({error})") from error
    return str(source), text


def _explain(document: Document, detail: Any, kind: type[Section]) -> str:
    """Say in one line what pydantic found, where, and what may have been meant."""
    trail = detail["loc"]
    where = f"{document.place(trail)}: {'.'.join(map(str, trail))}".removesuffix(": ")
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown option; {_suggest(trail, kind)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Tuple", "List")
    message = message.replace(" after validation", "")
    if detail["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]}, got {detail['input']!r:.60}"


def _suggest(trail: tuple[str | int, ...], section: type[Section]) -> str:
    """Name the option that was probably meant, or those that there are."""
    import difflib

    for part in trail[:-1]:
        if str(part) not in section.model_fields:
            continue  # a name in a mapping of sections
        annotation = section.model_fields[str(part)].annotation
        section = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, Section)
        )
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(trail[-1]), known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"options here are {', '.join(known)}"
