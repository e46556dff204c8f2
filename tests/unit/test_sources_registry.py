"""Kinds of sources and their options."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import _registry as known_classes
from marshmallow import ValidationError

from celeriac.errors import ConfigurationError
from celeriac.sources.base import Source
from celeriac.sources.registry import SourceKind, build_source, load_options, source_kinds

FILES = {"kind": "files", "path": "data/*.jsonl"}
REST = {"kind": "rest", "url": "https://api.example.com/products"}
SQL = {"kind": "sql", "url": "postgresql://reader:pw@db.example.com/shop", "table": "products"}


def messages(options: dict[str, Any]) -> Any:
    with pytest.raises(ValidationError) as caught:
        load_options(options)
    return caught.value.messages


def install(folder: Path, entry_points: dict[str, str], code: str) -> None:
    """An installed distribution `turnips` with a module of the same name."""
    info = folder / "turnips-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: turnips\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[celeriac.sources]", *lines, ""]))
    (folder / "turnips.py").write_text(textwrap.dedent(code))


TURNIPS = """
    from marshmallow import Schema, fields

    from celeriac.model import Entity, Page
    from celeriac.sources.registry import SourceKind


    class Options(Schema):
        count = fields.Integer(load_default=2)


    class Turnips:
        stable_listing = True

        def __init__(self, options):
            self.count = options["count"]

        def page(self, cursor):
            return Page(tuple(Entity(str(n), {"id": n}) for n in range(self.count)), None)

        def close(self):
            pass


    KIND = SourceKind("turnips", Options, Turnips)
    COPY = SourceKind("files", Options, Turnips)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where packages are found."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "turnips", raising=False)
    return tmp_path


def test_files_rest_and_sql_are_built_in() -> None:
    kinds = source_kinds()
    assert set(kinds) >= {"files", "rest", "sql"}
    assert all(name == kind.name for name, kind in kinds.items())


@pytest.mark.parametrize("options", [FILES, REST, SQL])
def test_a_source_is_built_of_its_options_without_connecting(options: dict[str, Any]) -> None:
    source = build_source(options)
    assert isinstance(source, Source)
    source.close()


@pytest.mark.parametrize("options", [FILES, REST, SQL])
def test_loading_loaded_options_changes_nothing(options: dict[str, Any]) -> None:
    loaded = load_options(options)
    assert load_options(loaded) == loaded
    assert loaded["kind"] == options["kind"]
    assert loaded["id"] == "id"


def test_page_sizes_have_sensible_defaults() -> None:
    sizes = [load_options(options)["page_size"] for options in (FILES, REST, SQL)]
    assert sizes == [1000, 60, 1000]


def test_a_missing_kind_is_named() -> None:
    assert messages({"path": "x"}) == {"kind": ["Missing data for required field."]}


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    (message,) = messages({"kind": "ftp"})["kind"]
    assert message == "Must be one of: files, rest, sql."


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({**FILES, "pth": "x"}, {"pth": ["Unknown field."]}),
        ({"kind": "files"}, {"path": ["Missing data for required field."]}),
        ({**FILES, "encoding": "utf-9"}, {"encoding": ["There is no encoding 'utf-9'."]}),
        ({**SQL, "query": "SELECT 1"}, {"table": ["Give either table or query."]}),
        (
            {**REST, "auth": {"kind": "bearer", "tokn": "x"}},
            {
                "auth": {
                    "token": ["Missing data for required field."],
                    "tokn": ["Unknown field."],
                }
            },
        ),
        ({**REST, "auth": {}}, {"auth": {"kind": ["Missing data for required field."]}}),
        (
            {**REST, "pagination": {"kind": "pages"}},
            {"pagination": {"kind": ["Must be one of: page, offset, cursor, link, none."]}},
        ),
        (
            {**REST, "pagination": {"kind": "cursor"}},
            {"pagination": {"next_path": ["Give either next_path or next_header."]}},
        ),
        ({**REST, "auth": "bearer"}, {"auth": ["Not a mapping with the key `kind`."]}),
    ],
)
def test_options_are_checked_strictly_and_messages_stand_at_their_keys(
    options: dict[str, Any], expected: Any
) -> None:
    assert messages(options) == expected


@pytest.mark.parametrize(
    "options",
    [
        {**FILES, "page_size": 0},
        {**FILES, "page_size": 1_000_000},
        {**FILES, "format": "xml"},
        {**FILES, "encoding": "utf-16"},
        {**FILES, "delimiter": ";;"},
        {**REST, "url": "ftp://example.com"},
        {**REST, "url": "https://"},
        {**REST, "url": "https://[::1"},
        {**REST, "headers": {"x-key": "line\nbreak"}},
        {**SQL, "url": "not a url"},
        {**SQL, "table": None},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    assert len(messages(options)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {**REST, "auth": {"kind": "bearer", "token": "s3cret\n"}},
        {**REST, "auth": {"kind": "bearer", "token": "s3cret", "x": 1}},
        {**REST, "url": "htp://user:s3cret@example.com/"},
        {**SQL, "url": "s3cret"},
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_it(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_source(options)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"kind": "files", "path": "gopher://a/b"}, "gopher"),
        ({"kind": "sql", "url": "oracle://db/x", "table": "t"}, "driver"),
        ({"kind": "sql", "url": "nosuchdb://db/x", "table": "t"}, "nosuchdb"),
    ],
)
def test_what_is_not_installed_is_a_configuration_error(options: Any, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        build_source(options)


def test_an_installed_package_adds_a_kind(site: Path) -> None:
    install(site, {"turnips": "turnips:KIND"}, TURNIPS)

    kind = source_kinds()["turnips"]
    source = build_source({"kind": "turnips", "count": 3})

    assert isinstance(kind, SourceKind)
    assert [entity.id for entity in source.page(None).entities] == ["0", "1", "2"]
    assert messages({"kind": "turnips", "cuont": 1}) == {"cuont": ["Unknown field."]}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("turnips:MISSING", "cannot be loaded"),
        ("no_such_module:KIND", "cannot be loaded"),
        ("turnips:Options", "has to load a celeriac.sources.registry.SourceKind"),
        ("turnips:COPY", "exists already"),
    ],
)
def test_a_package_that_brings_no_usable_kind_is_named(
    site: Path, target: str, complaint: str
) -> None:
    install(site, {"x": target}, TURNIPS)
    with pytest.raises(ConfigurationError, match=rf"'x' of turnips \({target}\).*{complaint}"):
        source_kinds()


def test_builtin_kinds_do_not_depend_on_other_packages(site: Path) -> None:
    install(site, {"x": "turnips:MISSING"}, TURNIPS)
    assert load_options(FILES)["kind"] == "files"


@pytest.mark.parametrize("package", ["fsspec.core", "s3fs"])
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    # fsspec keeps the classes it has imported before.
    monkeypatch.delitem(known_classes, "s3", raising=False)
    with pytest.raises(ConfigurationError, match=r"install celeriac\[files\]"):
        build_source({**FILES, "path": "s3://bucket/a.jsonl"})
