"""Which state files on disk are in: another one as soon as a listing may be another one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import World

from celeriac.errors import SourceError
from celeriac.model import SourceVersion, TextField
from celeriac.sealing import UNLISTED
from celeriac.sources import file_versions
from celeriac.sources.base import VersionedSource
from celeriac.sources.registry import build_source


def version(path: Path, **options: Any) -> SourceVersion:
    source = build_source({"kind": "files", "path": str(path), **options})
    assert isinstance(source, VersionedSource)
    found = source.version()
    source.close()
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder / "a.jsonl", "one", "two")
    write(folder / "b.jsonl", "three")
    return folder


def write(path: Path, *texts: str) -> None:
    records = [{"id": f"{path.stem}-{number}", "text": text} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), "utf-8")


def test_another_process_finds_the_same(folder: Path) -> None:
    assert version(folder) == version(folder)


def replace_keeping_size_and_time(folder: Path) -> None:
    before = (folder / "a.jsonl").stat()
    write(folder / "a.jsonl", "two", "one")
    os.utime(folder / "a.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / "a.jsonl").stat().st_size == before.st_size


def swap(folder: Path) -> None:
    (folder / "a.jsonl").rename(folder / "c.jsonl")
    (folder / "b.jsonl").rename(folder / "a.jsonl")
    (folder / "c.jsonl").rename(folder / "b.jsonl")


@pytest.mark.parametrize(
    "change",
    [
        replace_keeping_size_and_time,
        swap,
        lambda folder: (folder / "a.jsonl").unlink(),
        lambda folder: (folder / "a.jsonl").rename(folder / "0.jsonl"),
        lambda folder: write(folder / "c.jsonl", "four"),
    ],
    ids=["same size and time", "swapped", "removed", "renamed", "added"],
)
def test_files_that_are_others_are_another_content(
    folder: Path, change: Callable[[Path], None]
) -> None:
    before = version(folder)
    change(folder)
    assert version(folder).content != before.content


def test_a_write_that_changes_nothing_is_a_write(folder: Path) -> None:
    before = version(folder)
    os.utime(folder / "b.jsonl", ns=(0, 0))
    after = version(folder)
    assert after.content == before.content
    assert after.writes != before.writes


def test_a_document_says_when_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title", "utf-8")
    before = version(tmp_path)
    os.utime(tmp_path / "a.md", ns=(0, 0))
    assert version(tmp_path).content != before.content


@pytest.mark.parametrize(
    "options",
    [
        {"id": "text"},
        {"include": ["a.*"]},
        {"exclude": ["a.*"]},
        {"format": "jsonl"},
        {"encoding": "cp1252"},
        {"max_entity_bytes": 10},
    ],
)
def test_options_that_shape_the_listing_are_part_of_it(
    folder: Path, options: dict[str, Any]
) -> None:
    assert version(folder, **options).content != version(folder).content


def test_options_that_do_not_are_none(folder: Path) -> None:
    assert version(folder, page_size=1) == version(folder)


def test_what_is_too_large_to_be_read_first_cannot_be_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_versions, "MOST_BYTES", 10)
    source = build_source({"kind": "files", "path": str(folder)})
    assert isinstance(source, VersionedSource)
    assert source.version() is None


def test_a_listing_says_that_it_begins_with_other_files(folder: Path) -> None:
    source = build_source({"kind": "files", "path": str(folder)})
    assert isinstance(source, VersionedSource)
    for disturbed in (False, True, False):
        source.version()
        if disturbed:
            write(folder / "c.jsonl", "four")
        assert source.page(None).disturbed == disturbed


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        version(tmp_path / "none")


def test_jobs_list_a_file_only_when_it_has_changed(world: World, folder: Path) -> None:
    world.declare(text_fields=(TextField("text"),), filter_fields=())
    source = build_source({"kind": "files", "path": str(folder)})

    def messages() -> list[str]:
        world.refresh()
        world.runtime.preset(source=(world.entity_type, source))
        job = world.reindex(removal_limit=1.0)
        assert job.state == "succeeded"
        assert job.counters.listed == len(world.indexed())
        return [job.message, *sorted(one.text for one in world.indexed())]

    world.source = source  # type: ignore[assignment]  # of files, not of a list
    assert messages() == ["", "one", "three", "two"]
    assert messages() == [UNLISTED, "one", "three", "two"]
    replace_keeping_size_and_time(folder)
    (folder / "b.jsonl").unlink()
    assert messages() == ["", "one", "two"]
    os.utime(folder / "a.jsonl")
    assert messages() == [UNLISTED, "one", "two"]
