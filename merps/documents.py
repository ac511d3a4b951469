"""Plain YAML, read strictly: no tags, aliases or repeated keys; lines are kept."""

import re
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import yaml

MAX_BYTES = 2**18
_MAX_DEPTH = 20
_MAX_SCALAR = 1_000
_PART = re.compile(r"[A-Za-z0-9_-]+")
_MAP, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_PLAIN = {f"tag:yaml.org,2002:{tag}" for tag in ("null", "bool", "int", "float", "str")}

Trail: TypeAlias = tuple[Hashable, ...]


class Document:
    """A tree of plain values put together from a file and overrides.

    Problems are collected instead of raised, so that a user sees all of them at once.
    """

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.problems: list[str] = []
        self._places: dict[Trail, str] = {}
        self._label = "configuration"

    def read(self, label: str, text: str) -> None:
        """Take the whole tree from a YAML text.

        Parameters
        ----------
        label : str
            Name of the file for messages.
        text : str
            Its content.
        """
        self._label = label
        value = self._parse(text, (), lambda line: f"{label}, line {line}")
        if isinstance(value, dict):
            self.tree = value
        elif value is not None:
            self.problems.append(
                f"{label}: expected sections such as 'preprocess:', found "
                f"{type(value).__name__} {value!r:.60}"
            )

    def override(self, text: str) -> None:
        """Set one value of the tree.

        Parameters
        ----------
        text : str
            Such as ``preprocess.eeg.to_hz=100``; the value is YAML.
        """
        place = f"--set {text:.80}"
        name, equals, value = text.partition("=")
        trail = tuple(name.strip().split("."))
        if not equals or not all(_PART.fullmatch(part) for part in trail):
            self.problems.append(
                f"{place}: expected section.option=value, such as model.regressor=huber"
            )
            return
        branch = self.tree
        for depth, part in enumerate(trail[:-1], start=1):
            if branch.get(part) is None:
                branch[part] = {}
            branch = branch[part]
            if not isinstance(branch, dict):
                self.problems.append(
                    f"{place}: {'.'.join(trail[:depth])} is not a section"
                )
                return
        for old in [old for old in self._places if old[: len(trail)] == trail]:
            del self._places[old]
        branch[trail[-1]] = self._parse(value, trail, lambda _: place)

    def place(self, trail: Trail) -> str:
        """Say where a value was written, or the nearest one around it.

        Parameters
        ----------
        trail : tuple
            Keys and list positions that lead to the value.

        Returns
        -------
        str
            File and line, or the override.
        """
        for length in range(len(trail), 0, -1):
            if trail[:length] in self._places:
                return self._places[trail[:length]]
        return self._label

    def _parse(self, text: str, trail: Trail, place: Callable[[int], str]) -> Any:
        """Turn a YAML text into plain values; None where that fails."""
        if len(text) > MAX_BYTES:
            self.problems.append(
                f"{place(1)}: longer than {MAX_BYTES // 1024} kB; configurations are "
                "short, is this another file?"
            )
            return None
        try:
            loader = _PlainLoader(text)
            root = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            reason = ", ".join(filter(None, (error.context, error.problem)))
            self.problems.append(f"{place(line)}: {reason}")
            return None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self.problems.append(
                f"{place(line)}: {chr(error.character)!r} cannot stand in YAML text"
            )
            return None
        return None if root is None else self._plain(root, trail, loader, place)

    def _plain(
        self,
        node: yaml.Node,
        trail: Trail,
        loader: "_PlainLoader",
        place: Callable[[int], str],
    ) -> Any:
        """Return the value of a node and note where it and its parts are written."""
        here = place(node.start_mark.line + 1)
        self._places.setdefault(trail, here)
        if node.tag == _SEQUENCE and isinstance(node, yaml.SequenceNode):
            return [
                self._plain(item, (*trail, number), loader, place)
                for number, item in enumerate(node.value)
            ]
        if node.tag == _MAP and isinstance(node, yaml.MappingNode):
            return self._mapping(node, trail, loader, place)
        if node.tag in _PLAIN and isinstance(node, yaml.ScalarNode):
            if len(node.value) <= _MAX_SCALAR:
                try:
                    return loader.construct_object(node)
                except (ValueError, KeyError, IndexError, OverflowError):
                    pass
            self.problems.append(f"{here}: cannot use the value {node.value!r:.60}")
            return None
        if isinstance(node, yaml.ScalarNode) and not node.tag.startswith("!"):
            return node.value  # a date, say: whoever wants text may have it
        self.problems.append(f"{here}: the tag {node.tag!r:.60} is not allowed")
        return None

    def _mapping(
        self,
        node: yaml.MappingNode,
        trail: Trail,
        loader: "_PlainLoader",
        place: Callable[[int], str],
    ) -> dict[str, Any]:
        """Return a mapping whose keys are words, each given once."""
        value: dict[str, Any] = {}
        for key_node, item in node.value:
            here = place(key_node.start_mark.line + 1)
            key = key_node.value
            if not isinstance(key, str):
                self.problems.append(f"{here}: a key must be a word")
                continue
            if key in value:
                self.problems.append(
                    f"{here}: {'.'.join(map(str, (*trail, key)))} is given twice"
                )
                continue
            self._places[(*trail, key)] = here
            value[key] = self._plain(item, (*trail, key), loader, place)
        return value


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without anchors and deep nesting, and with 1e-3 as a number."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Refuse what can grow without bounds."""
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not allowed", event.start_mark
            )
        if self._depth >= _MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, "nested too deeply", event.start_mark
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


# YAML 1.1 wants a dot in a float, and people write 1e-3.
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+[eE][-+]?\d+$"),
    list("-+0123456789"),
)
