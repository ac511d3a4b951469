"""Paths with names in them: which file belongs to whom and to which stimulus."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from merps.errors import ConfigError

_PARTS = re.compile(r"\{(\w+)\}|(\*\*/)|(\*)|(\?)|([^{}*?]+)|(.)")
_WILD = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
#: What a name in a path may be made of; the shortest fit counts.
_NAMES = {
    "person": r"[A-Za-z0-9_-]{1,64}?",
    "session": r"[^/]+?",
    "stimulus": r"[^/]+?",
}


@dataclass(frozen=True)
class Template:
    """A path under the data folder, such as ``{person}/eeg_{stimulus}.edf``.

    ``{person}``, ``{stimulus}`` and ``{session}`` stand for names, ``*`` and ``?`` for
    any characters but a slash, ``**/`` for any folders.

    Parameters
    ----------
    text : str
        The template.

    Raises
    ------
    ConfigError
        If it names something else, or has a stray brace.
    """

    text: str
    _pattern: re.Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts, seen = [], set()
        for name, folders, some, one, literal, stray in _PARTS.findall(self.text):
            if name in seen:
                parts.append(f"(?P={name})")
            elif name in _NAMES:
                seen.add(name)
                parts.append(f"(?P<{name}>{_NAMES[name]})")
            elif name or stray:
                raise ConfigError(
                    f"path {self.text!r}: {name or stray!r} is unknown; use "
                    "{person}, {stimulus}, {session}, * and **/"
                )
            else:
                parts.append(_WILD.get(folders or some or one) or re.escape(literal))
        object.__setattr__(self, "_pattern", re.compile("".join(parts)))

    @property
    def names(self) -> tuple[str, ...]:
        """Which names the path holds."""
        return tuple(self._pattern.groupindex)

    def match(self, path: str) -> dict[str, str] | None:
        """Find the names in a path.

        Parameters
        ----------
        path : str
            Path under the data folder, with slashes.

        Returns
        -------
        dict of str to str or None
            Names; None if the path is another one.
        """
        found = self._pattern.fullmatch(path)
        return None if found is None else found.groupdict()

    def fits(self, path: str) -> bool:
        """Tell whether a path is of this form.

        Parameters
        ----------
        path : str
            Path under the data folder, with slashes.

        Returns
        -------
        bool
            Also true of a template without names.
        """
        return self.match(path) is not None

    def fill(self, names: Mapping[str, str]) -> "Template":
        """Put known names into the template.

        Parameters
        ----------
        names : mapping of str to str
            Names; others stay open.

        Returns
        -------
        Template
            The template of that person, stimulus or session.
        """
        text = self.text
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return Template(text)
