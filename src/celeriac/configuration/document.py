"""A YAML file as plain data that remembers the line of each value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from celeriac.configuration.expansion import expand
from celeriac.configuration.problems import KeyPath, Problem, configuration_error
from celeriac.errors import ConfigurationError
from celeriac.model import Scalar

MAX_VALUES = 100_000
"""Aliases counted as often as they are used, so that a few lines cannot stand for a billion."""

_TAG = "tag:yaml.org,2002:"
_BOOLEANS = {"true": True, "false": False}
_SCALARS: Mapping[str, Callable[[str], Scalar | None]] = {
    "null": lambda _: None,
    "bool": lambda text: _BOOLEANS[text.lower()],
    "int": int,
    "float": float,
}


class _CoreLoader(yaml.SafeLoader):
    """Resolves plain scalars as YAML 1.2 does: `no` and `on` are text, and so are dates and 007."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # as the base class declares it


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})$"), _first)


@dataclass(slots=True)
class Document:
    """What a file says, its `${NAME}` replaced."""

    file: Path
    data: Any = None
    """Mappings, lists, text, numbers, booleans and None."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """Where each key, and each item of a list, is written; from 1."""
    written: dict[KeyPath, str] = field(default_factory=dict)
    """The scalars in which something was replaced, as they stand in the file."""
    variables: set[str] = field(default_factory=set)
    """Names of the environment variables it refers to."""
    problems: list[Problem] = field(default_factory=list)
    """What could be read around; the values concerned are not to be relied on."""

    def line(self, path: KeyPath) -> int:
        """The line of a value, or of the nearest thing around it that is written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, message: str) -> Problem:
        return Problem(self.line(path), path, message)


def read_document(file: Path, environ: Mapping[str, str]) -> Document:
    """Read a YAML file.

    Raises:
        ConfigurationError: the file cannot be read, or is not YAML.
    """
    text = _read_text(file)
    try:
        loader = _CoreLoader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise configuration_error(file, [_syntax_problem(error, text)]) from None
    except RecursionError:
        raise configuration_error(file, [Problem(1, (), "is nested too deeply")]) from None
    document = Document(file)
    if node is not None:
        document.problems.extend(_duplicate_keys(node, (), set()))
        document.data = _Reading(document, environ, loader).value(node, ())
    return document


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read ({error.strerror}); "
            "CELERIAC_CONFIG must name a YAML file, or be unset to run without one"
        ) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise configuration_error(file, [Problem(line, (), "is not UTF-8 text")]) from None


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    """The parser's complaint without what it quotes of the file, which may be a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(line, (), "invalid YAML: a control character")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return Problem(1, (), "invalid YAML")
    in_scalar = error.context in ("while scanning a simple key", "while scanning a quoted scalar")
    mark = error.context_mark if in_scalar else error.problem_mark
    line = mark.line + 1 if mark else 1
    complaint = error.problem
    if complaint.startswith(("but ", "second ")):
        complaint = f"{error.context}, {complaint}"
    complaint = re.sub(r"(alias|anchor|tag handle) '.*?'", r"\1", complaint)
    hint = _syntax_hint(complaint, text.splitlines()[line - 1 : line])
    return Problem(line, (), f"invalid YAML: {complaint}{hint}")


def _syntax_hint(complaint: str, lines: list[str]) -> str:
    line = "".join(lines)
    if r"'\t' that cannot start" in complaint:
        return "; indent with spaces, not tabs"
    if "alias" in complaint or "cannot start any token" in complaint:
        return "; put a value that starts with *, &, %, @ or ` in quotes"
    if re.search(r"[{,\[].*[^\"'$]\$\{", line):
        return '; inside { } and [ ], put a reference in quotes: "${NAME}"'
    if "mapping values are not allowed" in complaint:
        return "; put a value that holds ': ' in quotes"
    return ""


def _duplicate_keys(node: yaml.Node, path: KeyPath, seen: set[int]) -> Iterator[Problem]:
    """Keys written twice in one mapping; each node is looked at once, however many its aliases."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _duplicate_keys(item, (*path, position), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, yaml.Node] = {}
    for key, value in node.value:
        key_path = (*path, str(key.value))
        original = first.setdefault(str(key.value), key)
        if original is not key and isinstance(key, yaml.ScalarNode):
            message = f"'{key.value}' is written twice, first on line {_line(original)}"
            yield Problem(_line(key), key_path, message)
        yield from _duplicate_keys(value, key_path, seen)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Reading:
    """Turns the nodes of one file into its document."""

    def __init__(
        self, document: Document, environ: Mapping[str, str], loader: yaml.SafeLoader
    ) -> None:
        self._document = document
        self._environ = environ
        self._loader = loader
        self._open: set[int] = set()
        """Ids of the nodes being read: an alias of one of them would have no end."""
        self._values = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            self._fail(path, f"holds more than {MAX_VALUES:,} values, aliases included")
        if id(node) in self._open:
            self._fail(path, "is an alias of something around it")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return self._sequence(node, path)
        finally:
            self._open.remove(id(node))
        self._complain_of_tag(path)
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        try:
            self._loader.flatten_mapping(node)
        except (yaml.MarkedYAMLError, RecursionError):
            self._complain(path, "'<<' takes an alias of a finished mapping, or a list of them")
            return {}
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                message = "a key must be text; put a value that starts with { or [ in quotes"
                self._document.problems.append(Problem(_line(key), path, message))
                continue
            self._document.lines[*path, key.value] = _line(key)
            mapping[key.value] = self.value(value, (*path, key.value))
        return mapping

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            self._document.lines[*path, position] = _line(item)
            items.append(self.value(item, (*path, position)))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Scalar | None:
        tag = node.tag.removeprefix(_TAG)
        if tag == "str":
            return self._expanded(node.value, path)
        if tag not in _SCALARS:
            self._complain_of_tag(path)
            return None
        try:
            return _SCALARS[tag](node.value)
        except (KeyError, ValueError):
            self._complain(path, f"is not of the type {tag}")
            return None

    def _expanded(self, text: str, path: KeyPath) -> str:
        expansion = expand(text, self._environ)
        if expansion.text != text or expansion.variables:
            self._document.written[path] = text
        self._document.variables.update(expansion.variables)
        for name in expansion.missing:
            self._complain(
                path,
                f"the environment variable {name} is not set; "
                f"set it, or write ${{{name}:-default}}",
            )
        if expansion.malformed:
            self._complain(path, "'${' takes a variable's name and '}'; write '$${' for the text")
        return expansion.text

    def _complain_of_tag(self, path: KeyPath) -> None:
        self._complain(path, "has a tag; put a value that starts with ! in quotes")

    def _complain(self, path: KeyPath, message: str) -> None:
        self._document.problems.append(self._document.problem(path, message))

    def _fail(self, path: KeyPath, message: str) -> None:
        problem = self._document.problem(path, message)
        raise configuration_error(self._document.file, [problem])
