"""Files in an object store: a real S3 server in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import servers
from listings import list_all, list_anew, pages_of

from celeriac.errors import SourceError, SourceUnavailable
from celeriac.model import SourceVersion
from celeriac.sources.base import Source, VersionedSource
from celeriac.sources.registry import build_source

SECRET = "s3cret-access-key"
START_SECONDS = 60


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own for one test."""

    name: str
    options: dict[str, Any]
    files: fsspec.AbstractFileSystem

    def put(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.files.pipe_file(f"{self.name}/{name}", data)

    def source(self, path: str, **options: Any) -> Source:
        url = f"s3://{self.name}/{path}"
        return build_source(
            {"kind": "files", "path": url, "storage_options": self.options, **options}
        )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (port,) = servers.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("s3") / "s3.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until_it_answers(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait()


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url):
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} gave no answer within {START_SECONDS} s: {log.read_text()}")


@pytest.fixture
def bucket(endpoint: str) -> Bucket:
    options = {
        "key": "reader",
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": endpoint},
    }
    files = fsspec.filesystem("s3", **options, skip_instance_cache=True)
    name = f"bucket-{uuid.uuid4().hex}"
    files.mkdir(name)
    return Bucket(name, options, files)


def lines(start: int, count: int) -> str:
    return "".join(
        json.dumps({"id": number, "text": "x" * 50}) + "\n"
        for number in range(start, start + count)
    )


@pytest.mark.parametrize("page_size", [3, 10, 100])
def test_objects_under_a_prefix_are_listed_by_name(bucket: Bucket, page_size: int) -> None:
    bucket.put("export/b.jsonl", lines(10, 10))
    bucket.put("export/a.jsonl", lines(0, 10))
    bucket.put("export/c.csv", "id,text\n20,x\n21,y\n")
    bucket.put("other/d.jsonl", lines(90, 1))

    listed = list_anew(lambda: bucket.source("export/", page_size=page_size))

    assert listed.ids == [str(number) for number in range(22)]
    assert listed.failures == []


def test_a_pattern_chooses_objects(bucket: Bucket) -> None:
    bucket.put("export/a.csv", "id\n1\n")
    bucket.put("export/deep/b.csv", "id\n2\n")
    bucket.put("export/c.jsonl", lines(3, 1))
    assert list_all(bucket.source("export/*.csv")).ids == ["1"]
    assert list_all(bucket.source("export/**/*.csv")).ids == ["1", "2"]
    assert list_all(bucket.source("export/c.jsonl")).ids == ["3"]


def test_documents_are_named_by_their_path_below_the_prefix(bucket: Bucket) -> None:
    bucket.put("docs/readme.txt", "A root.")
    bucket.put("docs/guides/soup.md", "# Soup")
    listed = list_all(bucket.source("docs"))
    assert listed.ids == ["guides/soup.md", "readme.txt"]
    assert listed.entities[1].fields["size"] == 7
    assert str(listed.entities[1].fields["modified"]).endswith("+00:00")


def test_a_parquet_object_is_read_row_group_by_row_group(bucket: Bucket) -> None:
    table = pa.Table.from_pylist([{"id": number, "text": "x" * 20} for number in range(50)])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=15)
    bucket.put("a.parquet", sink.getvalue().to_pybytes())
    assert list_anew(lambda: bucket.source("a.parquet", page_size=8)).ids == [
        str(number) for number in range(50)
    ]


def test_a_page_asks_for_its_own_part_of_an_object(bucket: Bucket) -> None:
    bucket.put("a.jsonl", lines(0, 100_000))
    size = bucket.files.info(f"{bucket.name}/a.jsonl")["size"]

    pages = pages_of(bucket.source("a.jsonl", page_size=100))
    first, second = next(pages), next(pages)

    assert first.bytes_read + second.bytes_read < size / 100
    assert [entity.id for entity in second.entities] == [str(n) for n in range(100, 200)]


def test_an_object_replaced_meanwhile_is_noticed(bucket: Bucket) -> None:
    bucket.put("a.jsonl", lines(0, 20))
    source = bucket.source("a.jsonl", page_size=5)
    cursor = source.page(None).next_cursor

    bucket.put("a.jsonl", lines(500, 20))

    with pytest.raises(SourceError, match=r"s3://.*a\.jsonl has changed while it was being listed"):
        source.page(cursor)


def test_an_object_deleted_meanwhile_ends_there(bucket: Bucket) -> None:
    bucket.put("x/a.jsonl", lines(0, 20))
    bucket.put("x/b.jsonl", lines(50, 1))
    source = bucket.source("x/", page_size=5)
    cursor = source.page(None).next_cursor
    bucket.files.rm(f"{bucket.name}/x/a.jsonl")
    assert [entity.id for entity in source.page(cursor).entities] == ["50"]


def test_a_listing_begun_anew_sees_new_objects(bucket: Bucket) -> None:
    bucket.put("x/a.jsonl", lines(0, 1))
    source = bucket.source("x/")
    assert list_all(source).ids == ["0"]
    bucket.put("x/b.jsonl", lines(1, 1))
    assert list_all(source).ids == ["0", "1"]


@pytest.mark.parametrize("path", ["nothing/", "nothing/*.csv", "a.jsonl/b"])
def test_a_prefix_without_objects_is_an_error(bucket: Bucket, path: str) -> None:
    bucket.put("a.jsonl", lines(0, 1))
    with pytest.raises(SourceError, match=r"s3://bucket-.*(does not exist|matches no file)"):
        bucket.source(path).page(None)


def test_a_bucket_that_does_not_exist_is_an_error(bucket: Bucket) -> None:
    missing = Bucket("no-such-bucket", bucket.options, bucket.files)
    with pytest.raises(SourceError, match="s3://no-such-bucket/a does not exist"):
        missing.source("a").page(None)


def test_a_server_that_cannot_be_reached_may_come_back(bucket: Bucket) -> None:
    (port,) = servers.free_ports(1)
    options = {
        **bucket.options,
        "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"},
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    unreachable = Bucket("b", options, bucket.files)
    with pytest.raises(
        SourceUnavailable, match=r"s3://b/a\.jsonl cannot be read for now"
    ) as caught:
        unreachable.source("a.jsonl").page(None)
    assert SECRET not in str(caught.value)


def test_objects_are_told_apart_by_their_tags(bucket: Bucket) -> None:
    bucket.put("data/a.jsonl", '{"id": 1}\n')
    before = version(bucket)
    assert version(bucket) == before
    bucket.put("data/a.jsonl", '{"id": 2}\n')
    changed = version(bucket)
    assert changed.content != before.content
    bucket.put("data/a.jsonl", '{"id": 1}\n')
    assert version(bucket).content == before.content


def test_tags_tell_nothing_of_what_is_read_through_a_cache(bucket: Bucket) -> None:
    """It may hold what the object was before."""
    bucket.put("a.jsonl", lines(0, 1))
    path, options = f"filecache::s3://{bucket.name}/a.jsonl", {"s3": bucket.options}
    source = build_source({"kind": "files", "path": path, "storage_options": options})
    assert isinstance(source, VersionedSource)
    assert list_all(source).ids == ["0"]
    assert source.version() is None


def version(bucket: Bucket) -> SourceVersion:
    source = bucket.source("data/")
    assert isinstance(source, VersionedSource)
    found = source.version()
    assert found is not None
    return found
