"""Knowledge bases from upload to search, message by message; jobs are those of entity types."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from api_server import InProcess
from harness import NAME, TENANT, Messages, World
from marshmallow import ValidationError
from oracle import expected_chunks, indexed_chunks

from celeriac.catalog.data_sources import DataSource, DataSourceType
from celeriac.catalog.documents import Document, DocumentKind, NewDocument
from celeriac.catalog.entries import Entry, EntryState, Refusal
from celeriac.catalog.jobs import JobState
from celeriac.catalog.knowledge_bases import DataOriginType, KnowledgeBase, KnowledgeIndex
from celeriac.catalog.lists import Window
from celeriac.configuration import Tenant
from celeriac.errors import (
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    EmptyDocument,
    NotFound,
    TooLarge,
)
from celeriac.knowledge import MAX_DOCUMENT, Knowledge
from celeriac.model import Entity, Splitting, TextField
from celeriac.overview import overview
from celeriac.sources.registry import load_options
from celeriac.voice import VoiceLibrary, new_document

SPLITTING = Splitting(chunk_size=100)


class Library:
    """A knowledge base on a world, and hands for it."""

    def __init__(self, world: World) -> None:
        world.refresh()
        self.world = world
        self.catalog = world.runtime.catalog
        self.knowledge = Knowledge(world.runtime, world.messages)
        self.voice = VoiceLibrary(world.runtime, world.messages, TENANT)
        self.base = self.new_base()
        self.made: list[KnowledgeIndex] = []

    def new_base(self, origin: DataOriginType = DataOriginType.LOCAL_FILES) -> KnowledgeBase:
        return self.catalog.knowledge_bases.create(
            TENANT, "Handbook", "", origin, {"policy_type": "MANUAL"}
        )

    def new_index(self, name: str = "stub") -> KnowledgeIndex:
        index = self.knowledge.create_index(
            TENANT, self.base.id, name=name, description="", model="stub", splitting=SPLITTING
        )
        self.made.append(index)
        return index

    def upload(self, name: str, text: str) -> Document:
        return self.knowledge.upload(self.base, name, text.encode(), "text/plain")

    def voice_document(self, text: str, name: str = "note") -> Document:
        content = text.encode()
        return self.voice.add(
            new_document(DocumentKind.TEXT, name, content, media_type="text/plain")
        )

    def entry(self, index: KnowledgeIndex, document: Document) -> Entry:
        entry = self.catalog.entries.find(index.id, document.id)
        assert entry is not None
        return entry

    def assert_holds(self, index: KnowledgeIndex, texts: dict[str, str]) -> None:
        """Exactly these documents' chunks are in the live generation: text by document id."""
        live = self.catalog.indexes.live(index.id)
        assert live is not None
        declared = self.world.runtime.entity_type(TENANT, index.key)
        entities = [Entity(document, {"text": text}) for document, text in texts.items()]
        indexed = indexed_chunks(self.world.store, live.partition)
        assert indexed == expected_chunks(declared, entities)


@pytest.fixture
def library(world: World) -> Iterator[Library]:
    library = Library(world)
    yield library
    bases = [library.base, library.voice.base]
    for base in bases:
        for index in library.catalog.knowledge_bases.all_indexes(base.id):
            live = library.catalog.indexes.live(index.id)
            if live is not None:
                world.store.delete_partition(live.partition)


def words(count: int, of: str = "word") -> str:
    return " ".join(f"{of}{number}" for number in range(count))


def test_an_uploaded_document_is_indexed_in_every_index(library: Library) -> None:
    first, second = library.new_index("first"), library.new_index("second")
    document = library.upload("a.txt", words(300))
    assert library.entry(first, document).state == EntryState.QUEUED
    library.world.run()
    for index in (first, second):
        library.assert_holds(index, {document.id: words(300)})
        entry = library.entry(index, document)
        assert (entry.state, entry.used_bytes) == (EntryState.INDEXED, document.size_bytes)
        assert entry.embedded_at is not None
        assert entry.job_id is not None


def test_people_read_what_its_jobs_are_of(library: Library) -> None:
    index = library.new_index("small")
    titles = {one.id: one.title for one in overview(library.world.runtime, [TENANT])}
    assert titles[index.id] == "Handbook / small"
    library.knowledge.start_indexing(index)
    database = library.catalog.database.engine.url.render_as_string(hide_password=False)
    cli = InProcess({"CELERIAC_DATABASE_URL": database})
    assert "acme / Handbook / small" in cli("jobs", "--tenant", TENANT).output
    assert cli.json("jobs")[0]["entity_type"] == index.key


def test_a_new_index_takes_up_the_documents_there_are(library: Library) -> None:
    document = library.upload("a.txt", words(30))
    index = library.new_index()
    library.world.run()
    library.assert_holds(index, {document.id: words(30)})


def test_a_deleted_document_leaves_every_index(library: Library) -> None:
    index = library.new_index()
    kept, gone = library.upload("a.txt", words(30)), library.upload("b.txt", words(250, "other"))
    library.world.run()
    library.knowledge.delete_document(library.base, gone.id)
    library.world.run()
    library.assert_holds(index, {kept.id: words(30)})
    assert library.catalog.entries.find(index.id, gone.id) is None
    with pytest.raises(NotFound):
        library.knowledge.document(library.base, gone.id)


def test_a_second_document_of_a_name_is_refused(library: Library) -> None:
    library.upload("a.txt", "one")
    with pytest.raises(Conflict) as raised:
        library.upload("a.txt", "two")
    assert raised.value.code == "DOCUMENT_ALREADY_EXISTS"


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", EmptyDocument), (b" \n", EmptyDocument), (b"x" * (MAX_DOCUMENT + 1), TooLarge)],
)
def test_empty_and_oversized_documents_are_refused(
    library: Library, content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        library.knowledge.upload(library.base, "a.txt", content, "text/plain")


def test_a_document_that_cannot_be_read_fails_alone(library: Library) -> None:
    index = library.new_index()
    broken = library.knowledge.upload(library.base, "b.pdf", b"not a PDF", "application/pdf")
    sound = library.upload("a.txt", words(30))
    library.world.run()
    library.assert_holds(index, {sound.id: words(30)})
    entry = library.entry(index, broken)
    assert entry.state == EntryState.FAILED
    assert "PDF" in entry.reason


def test_a_failed_job_fails_its_entries_and_the_next_one_mends_them(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = library.new_index()
    document = library.upload("a.txt", words(30))
    job = library.catalog.jobs.waiting(index.id)
    assert job is not None
    library.world.jobs.start(job.id)
    library.world.jobs.fail(job.id, "The model is broken.")
    entry = library.entry(index, document)
    assert (entry.state, entry.reason) == (EntryState.FAILED, "The model is broken.")
    library.knowledge.start_indexing(index)
    library.world.run()
    assert library.entry(index, document).state == EntryState.INDEXED


def test_a_cancelled_job_cancels_the_documents_it_had_in_hand(library: Library) -> None:
    index = library.new_index()
    document = library.upload("a.txt", words(30))
    job = library.catalog.jobs.waiting(index.id)
    assert job is not None
    library.world.jobs.start(job.id)
    library.catalog.entries.begin(index.id, job.id, [document.id])
    assert library.entry(index, document).state == EntryState.EMBEDDING
    library.world.jobs.cancel(job.id)
    assert library.entry(index, document).state == EntryState.CANCELLED


def test_a_change_whose_request_was_lost_is_taken_up(library: Library) -> None:
    index = library.new_index()
    new = NewDocument(DocumentKind.FILE, "a.txt", media_type="text/plain", content=b"some text")
    document = library.catalog.documents.add(
        library.base.id, TENANT, new, unique=True, entries=True
    )
    assert library.catalog.settlement.unattended(0) == [index.id]
    assert library.catalog.settlement.unattended(3600) == []
    library.knowledge.start_indexing(index)
    assert library.catalog.settlement.unattended(0) == []
    library.world.run()
    library.assert_holds(index, {document.id: "some text"})


def test_an_index_whose_model_is_not_declared_any_more_holds_up_no_other(library: Library) -> None:
    library.world.models["other"] = replace(library.world.models["stub"], name="other")
    library.world.refresh()
    index = library.new_index()
    unusable = library.knowledge.create_index(
        TENANT, library.base.id, name="other", description="", model="other", splitting=SPLITTING
    )
    library.world.models.pop("other")
    library.world.refresh()
    with pytest.raises(ConfigurationError, match="not declared any more"):
        library.upload("a.txt", "some text")
    document = library.catalog.documents.list(library.base.id, Window())[0][0]
    library.world.run()
    library.assert_holds(index, {document.id: "some text"})
    with library.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE entries SET updated_at = updated_at - 1000")
    assert unusable.id in library.catalog.settlement.unattended(60)
    library.world.jobs.recover()


@pytest.mark.parametrize("origin", DataOriginType)
def test_a_knowledge_base_that_could_not_be_taken_out_at_once_leaves_no_points(
    library: Library, linked: Linked, origin: DataOriginType, tmp_path: Path
) -> None:
    world = library.world
    if origin == DataOriginType.DATA_SOURCES:
        declare_files(world, tmp_path / "texts", ["a.txt", "b.txt"])
        linked.link(DataSourceType.ENTITY_TYPE, NAME)
        index = linked.index
    else:
        library.base = library.new_base()
        index = library.new_index()
        library.upload("a.txt", "some text")
    world.run()
    live = library.catalog.indexes.live(index.id)
    assert live is not None
    assert world.store.count(live.partition) > 0
    library.knowledge.delete_knowledge_base(TENANT, library.base.id)
    [job] = library.catalog.jobs.of_index(index.id, JobState.QUEUED)
    library.catalog.jobs.fail(job.id, "the store was away for too long")
    world.messages.waiting.clear()
    world.jobs.recover()
    world.run()
    world.jobs.recover()
    assert world.store.count(live.partition) == 0


class Broken(Messages):
    """A broker that takes nothing."""

    def start_job(self, job_id: str) -> None:
        raise BrokerUnavailable(job_id)


def test_a_change_is_queued_for_every_index_although_the_broker_is_away(library: Library) -> None:
    indexes = [library.new_index("first"), library.new_index("second")]
    document = library.upload("a.txt", "some text")
    library.world.run()
    knowledge = Knowledge(library.world.runtime, Broken())
    with pytest.raises(BrokerUnavailable):
        knowledge.delete_document(library.base, document.id)
    for index in indexes:
        assert library.catalog.jobs.waiting(index.id) is not None
    library.world.jobs.recover()
    library.world.run()
    for index in indexes:
        library.assert_holds(index, {})


def test_a_knowledge_base_is_deleted_although_the_broker_is_away(library: Library) -> None:
    indexes = [library.new_index("first"), library.new_index("second")]
    library.upload("a.txt", "some text")
    library.world.run()
    with pytest.raises(BrokerUnavailable):
        Knowledge(library.world.runtime, Broken()).delete_knowledge_base(TENANT, library.base.id)
    library.world.jobs.recover()
    library.world.run()
    library.world.jobs.recover()
    for index in indexes:
        for generation in library.catalog.generations.of_index(index.id):
            assert library.world.store.count(generation.partition) == 0


def test_one_indexing_waits_and_another_is_refused(library: Library) -> None:
    index = library.new_index()
    first = library.knowledge.start_indexing(index)
    with pytest.raises(Conflict) as raised:
        library.knowledge.start_indexing(index)
    assert raised.value.code == "PENDING_INDEXING_ALREADY_EXISTS_FOR_KB"
    assert library.knowledge.active_indexing(index).id == first.id
    library.world.run()
    active = library.knowledge.active_indexing(index)
    assert (active.id, active.state) == (first.id, JobState.SUCCEEDED)


def test_a_deleted_knowledge_base_leaves_no_points(library: Library) -> None:
    index = library.new_index()
    library.upload("a.txt", words(300))
    library.world.run()
    library.knowledge.delete_knowledge_base(TENANT, library.base.id)
    with pytest.raises(NotFound):
        library.knowledge.index(TENANT, library.base.id, index.id)
    library.world.run()
    library.assert_holds(index, {})


def test_one_whose_model_is_not_declared_any_more_leaves_no_points_either(
    library: Library,
) -> None:
    index = library.new_index()
    library.upload("a.txt", words(300))
    library.world.run()
    live = library.catalog.indexes.live(index.id)
    assert live is not None
    assert library.world.store.count(live.partition) > 0
    library.world.models.pop("stub")
    library.world.refresh()
    library.knowledge.delete_knowledge_base(TENANT, library.base.id)
    library.world.jobs.recover()
    assert library.world.store.count(live.partition) == 0
    assert library.catalog.indexes.live(index.id) is None


def test_another_tenant_sees_nothing(library: Library) -> None:
    index = library.new_index()
    with pytest.raises(NotFound):
        library.knowledge.knowledge_base("other", library.base.id)
    with pytest.raises(NotFound):
        library.knowledge.index("other", library.base.id, index.id)


def test_an_unknown_model_is_refused(library: Library) -> None:
    with pytest.raises(ConfigurationError, match="nosuch"):
        library.knowledge.create_index(
            TENANT, library.base.id, name="x", description="", model="nosuch", splitting=SPLITTING
        )


def test_lists_go_forwards_and_backwards(library: Library) -> None:
    for number in range(7):
        library.upload(f"d{number}.txt", "some text")

    def listed(**window: object) -> tuple[list[str], bool]:
        found, more = library.catalog.documents.list(library.base.id, Window(**window))
        return [one.name for one in found], more

    everything = library.catalog.documents.list(library.base.id, Window())[0]
    ids, names = [one.id for one in everything], [one.name for one in everything]
    assert len(names) == 7
    assert listed(limit=3) == (names[:3], True)
    assert listed(limit=3, after=ids[2]) == (names[3:6], True)
    assert listed(limit=3, after=ids[5]) == (names[6:], False)
    assert listed(limit=3, before=ids[4]) == (names[1:4], True)
    assert listed(limit=3, descending=True) == (names[:3:-1], True)
    assert listed(limit=2, offset=3) == (names[3:5], True)
    assert listed(after="nosuch") == ([], False)


def test_a_rag_index_is_made_once_and_indexed(library: Library) -> None:
    document = library.voice_document(words(300))
    with pytest.raises(NotFound) as raised:
        library.voice.rag_index(document.id, "stub", create=False)
    assert raised.value.code == "rag_index_not_found"
    made = library.voice.rag_index(document.id, "stub", create=True)
    assert (made.entry.state, made.progress) == (EntryState.QUEUED, 0.0)
    library.world.run()
    again = library.voice.rag_index(document.id, "stub", create=True)
    assert again.entry.id == made.entry.id
    assert (again.entry.state, again.progress) == (EntryState.INDEXED, 1.0)
    assert library.voice.usage() == {"stub": document.size_bytes}
    base = library.voice.base
    [index] = library.catalog.knowledge_bases.all_indexes(base.id)
    library.assert_holds(index, {document.id: words(300)})


def test_identical_requests_at_once_make_one_entry(library: Library) -> None:
    document = library.voice_document(words(300))
    barrier = threading.Barrier(8)
    made: list[str] = []

    def ask() -> None:
        barrier.wait()
        found = library.voice.rag_index(document.id, "stub", create=True)
        made.append(found.entry.id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_small_documents_folders_and_quotas_are_refused(library: Library) -> None:
    tenant = Tenant(TENANT, {}, max_rag_bytes=4_000)
    settings = library.world.runtime.settings
    configuration = replace(settings.configuration, tenants={TENANT: tenant})
    library.world.runtime.settings = replace(settings, configuration=configuration)
    base = library.voice.base
    folder = library.voice.add(new_document(DocumentKind.FOLDER, "f"))
    first, second = library.voice_document(words(400)), library.voice_document(words(400))

    def state(document: Document) -> tuple[EntryState, str]:
        found = library.voice.rag_index(document.id, "stub", create=True)
        return found.entry.state, found.entry.reason

    assert state(library.voice_document("short")) == (EntryState.REFUSED, Refusal.TOO_SMALL)
    assert state(folder) == (EntryState.REFUSED, Refusal.FOLDER)
    assert state(first) == (EntryState.QUEUED, "")
    assert state(second) == (EntryState.REFUSED, Refusal.QUOTA)
    library.world.run()
    found = library.voice.rag_index(first.id, "stub", create=True)
    library.voice.delete_rag_index(first.id, found.entry.id)
    assert state(second) == (EntryState.QUEUED, "")
    library.world.run()
    [index] = library.catalog.knowledge_bases.all_indexes(base.id)
    library.assert_holds(index, {second.id: words(400)})


def test_progress_moves_while_a_large_document_is_embedded(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = library.voice_document(words(60_000))
    library.voice.rag_index(document.id, "stub", create=True)
    seen: list[float] = []
    publish = library.world.runtime.progress.entries

    def watch(job_id: str, shares: dict[str, float]) -> None:
        publish(job_id, shares)
        found = library.voice.rag_index(document.id, "stub", create=False)
        assert found.entry.state == EntryState.EMBEDDING
        seen.append(found.progress)

    monkeypatch.setattr(library.world.runtime.progress, "entries", watch)
    library.world.run()
    assert len(seen) >= 3
    assert seen == sorted(set(seen))
    assert 0 < seen[0] < seen[-1] < 1


@dataclass
class Linked:
    """A knowledge base over data sources: the world's entity type, and what else is linked."""

    library: Library
    base: KnowledgeBase
    index: KnowledgeIndex

    def link(self, kind: DataSourceType, url: str, **options: object) -> DataSource:
        made = self.library.knowledge.create_data_source(
            TENANT, url[-20:], "", kind, url, options=options, credentials={}
        )
        self.library.knowledge.link(self.base, made.id)
        return made

    def names(self) -> set[str]:
        """Ids at their origin of the documents in the index."""
        live = self.library.catalog.indexes.live(self.index.id)
        assert live is not None
        indexed = indexed_chunks(self.library.world.store, live.partition)
        ids = {one.entity_id for one in indexed}
        found = self.library.catalog.documents.find_many(self.base.id, ids)
        assert set(found) == ids
        return {one.origin_ref for one in found.values()}


@pytest.fixture
def linked(library: Library) -> Linked:
    library.base = library.new_base(DataOriginType.DATA_SOURCES)
    return Linked(library, library.base, library.new_index())


def declare_files(world: World, folder: Path, names: Sequence[str]) -> None:
    """Have the world's entity type read a folder of these texts."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name in names:
        (folder / name).write_text(f"The text of {name}")
    options = load_options({"kind": "files", "path": str(folder / "*.txt")})
    spec = replace(world.entity_type.spec, text_fields=(TextField("text"),))
    world.entity_type = replace(world.entity_type, source=options, spec=spec)
    world.refresh()


def test_documents_of_a_declared_source_are_followed(
    linked: Linked, world: World, tmp_path: Path
) -> None:
    declare_files(world, tmp_path / "texts", ["a.txt", "b.txt", "c.txt"])
    data_source = linked.link(DataSourceType.ENTITY_TYPE, NAME)
    world.run()
    assert linked.names() == {"a.txt", "b.txt", "c.txt"}
    documents = linked.library.catalog.documents
    [document] = [one for one in documents.list(linked.base.id, Window())[0] if one.name == "b.txt"]
    assert linked.library.entry(linked.index, document).state == EntryState.INDEXED
    declare_files(world, tmp_path / "texts", ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"])
    linked.library.knowledge.start_indexing(linked.index)
    world.run()
    assert documents.count(linked.base.id) == 6
    (tmp_path / "texts" / "b.txt").unlink()
    linked.library.knowledge.start_indexing(linked.index)
    world.run()
    assert "b.txt" not in linked.names()
    assert documents.find(linked.base.id, document.id) is None
    assert linked.library.catalog.entries.find(linked.index.id, document.id) is None
    linked.library.knowledge.unlink(linked.base, data_source.id)
    world.run()
    assert linked.names() == set()
    assert documents.count(linked.base.id) == 0


def test_a_rest_data_source_may_not_lead_into_an_internal_network(
    linked: Linked, world: World
) -> None:
    linked.link(DataSourceType.REST, "http://127.0.0.1:9/things", text_fields=["name"])
    world.run()
    job = linked.library.catalog.jobs.of_index(linked.index.id)[0]
    assert job.state == JobState.FAILED
    assert "security.allowed_networks" in job.message


def test_data_sources_are_checked_when_they_are_made(library: Library) -> None:
    make = partial(library.knowledge.create_data_source, TENANT, "x", "")
    with pytest.raises(ValidationError):
        make(DataSourceType.REST, "file:///etc/passwd", options={}, credentials={})
    with pytest.raises(ValidationError):
        make(DataSourceType.ENTITY_TYPE, "nosuch", options={}, credentials={})
    with pytest.raises(ValidationError):
        make(DataSourceType.REST, "https://x.org/", options={"nosuch": 1}, credentials={})


def test_a_linked_data_source_cannot_be_deleted(linked: Linked) -> None:
    made = linked.link(DataSourceType.ENTITY_TYPE, NAME)
    with pytest.raises(Conflict):
        linked.library.knowledge.delete_data_source(TENANT, made.id)
    linked.library.knowledge.unlink(linked.base, made.id)
    linked.library.knowledge.delete_data_source(TENANT, made.id)
    with pytest.raises(NotFound):
        linked.library.knowledge.data_source(TENANT, made.id)


def test_messages_that_arrive_twice_change_nothing(library: Library) -> None:
    index = library.new_index()
    document = library.upload("a.txt", words(300))
    library.world.run(twice=True)
    library.assert_holds(index, {document.id: words(300)})
    assert library.entry(index, document).state == EntryState.INDEXED
