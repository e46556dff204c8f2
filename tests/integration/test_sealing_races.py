"""Seals beside workers that wake up late, and sources that change while they are listed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from harness import Message, VersionedListSource, World, article

from celeriac import finish
from celeriac.catalog.jobs import Job, JobState
from celeriac.model import SourceVersion, TextField
from celeriac.sealing import UNLISTED
from celeriac.sources.base import VersionedSource
from celeriac.sources.registry import build_source

ENTITIES = [article(number) for number in range(30)]


@pytest.fixture
def source(world: World) -> VersionedListSource:
    """A source of ENTITIES that an index was found equal to."""
    source = VersionedListSource(list(ENTITIES))
    world.source = source
    world.assert_succeeded(world.reindex())
    return source


def run_until(world: World, kind: str) -> None:
    while world.messages.waiting and world.messages.waiting[0][0] != kind:
        world.deliver(world.messages.waiting.pop(0))


@pytest.mark.parametrize("to_the_end", [False, True], ids=["while it lists", "after it succeeded"])
def test_who_lost_the_end_of_a_job_has_it_list_no_more(
    world: World,
    source: VersionedListSource,
    monkeypatch: pytest.MonkeyPatch,
    to_the_end: bool,
) -> None:
    """A worker finds the index another than its seal, and sleeps; another one goes on."""
    world.store.delete_chunks(world.partition(), [("a3", 0)])
    job = world.request()
    run_until(world, "finish")
    holds = finish.holds

    def sleep(*arguments: Any) -> bool:
        monkeypatch.setattr(finish, "holds", holds)
        found = holds(*arguments)
        world.runtime.catalog.end_leases()
        world.messages.finish_job(job.id)
        world.deliver(world.messages.waiting.pop())
        run_until(world, "none" if to_the_end else "finish")
        return found

    monkeypatch.setattr(finish, "holds", sleep)
    world.deliver(world.messages.waiting.pop(0))
    world.run()
    ended = world.job(job.id)
    world.assert_succeeded(ended)
    assert ended.counters.listed == len(ENTITIES)
    world.assert_index_equals(ENTITIES)


def test_a_page_that_runs_again_does_not_say_what_the_others_listed(
    world: World, source: VersionedListSource
) -> None:
    """What the source was when the job began could not be told."""
    changed = [*ENTITIES[:-1], article(29, words=21)]
    source.tellable = False
    job = world.request()
    run_until(world, "finish")
    source.tellable = True
    source.write(changed)
    assert world.runtime.catalog.jobs.claim_finish(job.id, "token", -1.0)
    world.runtime.catalog.pages.reopen(job.id, "token", [0])
    world.messages.index_page(job.id, 0)
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(changed)


def test_who_lost_the_first_page_does_not_say_what_was_listed(
    world: World, source: VersionedListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for the source's version, and slept; another worker could not tell it, and went
    on with the page."""
    changed = [*ENTITIES[:-1], article(29, words=21)]
    told = source.version

    def sleep() -> SourceVersion | None:
        monkeypatch.setattr(source, "version", told)
        source.tellable = False
        world.runtime.catalog.end_leases()
        world.messages.index_page(job.id, 0)
        run_until(world, "finish")
        source.tellable = True
        source.write(changed)
        return told()

    monkeypatch.setattr(source, "version", sleep)
    job = world.request()
    world.run()
    world.assert_succeeded(world.job(job.id))
    world.assert_succeeded(world.reindex())
    world.assert_index_equals(changed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b", "c"):
        write(folder / f"{name}.jsonl", f"text of {name}")
    return folder


def write(path: Path, text: str) -> None:
    record = {"id": path.stem, "text": text}
    path.write_text(json.dumps(record) + "\n", "utf-8")


def version(path: Path | str, **options: Any) -> SourceVersion | None:
    source = build_source({"kind": "files", "path": str(path), **options})
    assert isinstance(source, VersionedSource)
    found = source.version()
    source.close()
    return found


def index_files(world: World, folder: Path) -> Job:
    """Reindex a folder, each page in a process of its own."""
    world.declare(text_fields=(TextField("text"),), filter_fields=())
    open_folder(world, folder)
    job = world.request(removal_limit=1.0)
    while world.messages.waiting:
        world.deliver(world.messages.waiting.pop(0))
        open_folder(world, folder)
    return world.job(job.id)


def open_folder(world: World, folder: Path) -> None:
    source = build_source({"kind": "files", "path": str(folder), "page_size": 1})
    world.source = source  # type: ignore[assignment]  # of files, not of a list
    world.refresh()


def texts(world: World) -> list[str]:
    return sorted(one.text for one in world.indexed())


ALL = ["text of a", "text of b", "text of c"]


def test_a_document_that_cannot_be_read_is_one_that_fails(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("text of a", "utf-8")
    (folder / "b.txt").symlink_to("/proc/sys/vm/compact_memory")  # nobody may read it
    for _ in range(2):
        job = index_files(world, folder)
        assert (job.state, job.message) == (JobState.SUCCEEDED, "")
        assert (job.counters.listed, job.counters.failed) == (2, 1)
        assert texts(world) == ["text of a"]


def test_an_empty_folder_is_not_listed_again(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "empty.jsonl").touch()
    messages = [index_files(world, folder).message for _ in range(2)]
    assert messages == ["", UNLISTED]
    write(folder / "a.jsonl", "text of a")
    index_files(world, folder)
    assert texts(world) == ["text of a"]
    (folder / "a.jsonl").unlink()
    (folder / "empty.jsonl").unlink()
    assert [index_files(world, folder).message for _ in range(2)] == ["", UNLISTED]
    assert texts(world) == []


def rename_away_and_back(path: Path) -> Callable[[], Callable[[], None]]:
    def change() -> Callable[[], None]:
        kept = path.rename(path.parents[1] / "kept")
        write(path, "another text")

        def back() -> None:
            kept.rename(path)

        return back

    return change


def overwrite_keeping_the_time(path: Path) -> Callable[[], Callable[[], None]]:
    """As `cp -p` does."""

    def change() -> Callable[[], None]:
        text, stat = path.read_text("utf-8"), path.stat()
        write(path, "another text")

        def back() -> None:
            path.write_text(text, "utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        return back

    return change


def take_away(path: Path) -> Callable[[], Callable[[], None]]:
    def change() -> Callable[[], None]:
        kept = path.rename(path.parents[1] / "kept")

        def back() -> None:
            kept.rename(path)

        return back

    return change


def point_elsewhere(path: Path) -> Callable[[], Callable[[], None]]:
    """As deployments do that switch a link."""
    one, other = (path.parents[1] / name for name in ("one", "other"))
    path.rename(one)
    path.symlink_to(one)

    def change() -> Callable[[], None]:
        write(other, "another text")
        path.unlink()
        path.symlink_to(other)

        def back() -> None:
            path.unlink()
            path.symlink_to(one)

        return back

    return change


def add(path: Path) -> Callable[[], Callable[[], None]]:
    def change() -> Callable[[], None]:
        write(path, "text for a while")
        return path.unlink

    return change


CHANGES = {
    "c.jsonl": (rename_away_and_back, overwrite_keeping_the_time, take_away, point_elsewhere),
    "d.jsonl": (add,),
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in CHANGES.items() for change in changes]
)
def test_a_folder_that_is_another_for_a_while_is_listed_again(
    world: World,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[Path], Callable[[], Callable[[], None]]],
) -> None:
    """While all but the first page of a job are listed, and no longer."""
    back: list[Callable[[], None]] = []
    deliver, seal_of = world.deliver, finish.seal_of

    def after_the_first_page(message: Message) -> None:
        if message[0] == "page" and message[2] == 1 and not back:
            back.append(change(folder / name)())
        deliver(message)

    def at_the_end(*arguments: Any) -> Any:
        back[0]()
        return seal_of(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(world, "deliver", after_the_first_page)
        patch.setattr(finish, "seal_of", at_the_end)
        assert index_files(world, folder).state == JobState.SUCCEEDED
    assert texts(world) != ALL
    assert index_files(world, folder).state == JobState.SUCCEEDED
    assert texts(world) == ALL


def test_a_page_that_another_version_read_is_listed_again(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while workers are replaced one by one."""
    deliver = world.deliver

    def by_old_worker_if_second(message: Message) -> None:
        with monkeypatch.context() as patch:
            if message[0] == "page" and message[2] == 1:
                patch.setattr("celeriac.sources.files.readers", lambda: ["pypdf 1"])
            deliver(message)

    monkeypatch.setattr(world, "deliver", by_old_worker_if_second)
    messages = [index_files(world, folder).message for _ in range(2)]
    monkeypatch.setattr(world, "deliver", deliver)
    messages += [index_files(world, folder).message for _ in range(2)]
    assert messages == ["", "", "", UNLISTED]


@contextmanager
def serving(content: bytes, etag: str) -> Iterator[str]:
    """A web server whose tags say the size and time of files, as most web servers' do."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", etag)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.jsonl"
    server.shutdown()
    thread.join()
    server.server_close()


def test_tags_of_a_web_server_tell_nothing() -> None:
    with serving(b'{"id": "1"}\n', '"65f0c2a1-c"') as url:
        assert version(url) is None
