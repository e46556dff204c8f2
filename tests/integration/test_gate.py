"""What a new generation has to pass before it goes live, on local mode and on a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import ListSource, World, article

from celeriac.catalog.jobs import Job, JobState
from celeriac.configuration import Canary
from celeriac.embedding.base import Vectors
from celeriac.embedding.stub import StubEmbedder
from celeriac.errors import ModelUnavailable
from celeriac.model import Entity, Splitting
from celeriac.store.base import Hit, VectorStore

Embed = Callable[[Sequence[str]], Vectors]
ANOTHER = {"splitting": Splitting(chunk_size=150)}


def declare(world: World, *canaries: Canary, **changes: Any) -> None:
    world.declare(**changes)
    world.entity_type = replace(world.entity_type, canaries=canaries)
    world.refresh()


def indexed(world: World, entities: list[Entity]) -> None:
    world.source = ListSource(entities)
    world.assert_succeeded(world.reindex())


def states(world: World) -> dict[int, str]:
    index_id = world.partition().index_id
    return {one.number: one.state for one in world.runtime.catalog.generations.of_index(index_id)}


def embed_as(monkeypatch: pytest.MonkeyPatch, embed: Embed) -> None:
    """Have the model compute what `embed` gives."""
    monkeypatch.setattr(StubEmbedder, "embed", lambda _, texts: embed(texts))


def assert_refused(world: World, job: Job, *said: str) -> None:
    """The job failed and says so, and generation 1 is searched as before."""
    assert job.state == JobState.FAILED
    assert job.message.startswith(f"Generation {job.generation} does not go live.")
    for words in (*said, "Searches go on in generation 1."):
        assert words in job.message
    assert job.gate is None
    assert world.partition().generation == 1


def assert_went_live(world: World, job: Job, generation: int) -> None:
    world.assert_succeeded(job)
    assert job.generation == generation == world.partition().generation


def test_a_generation_that_goes_live_tells_what_was_found(world: World) -> None:
    entities = [article(number, words=200) for number in range(40)]
    world.source = ListSource(entities)
    first = world.reindex()
    assert_went_live(world, first, 1)
    assert first.gate is not None
    assert 16 <= first.gate["sampled"] < 32
    assert first.gate["similarity"] > 0.999
    assert {name: first.gate[name] for name in ("entities", "lost", "missed", "canaries")} == {
        "entities": 40,
        "lost": 0,
        "missed": 0,
        "canaries": 0,
    }
    assert first.gate["chunks"] == len(world.indexed())

    world.source = ListSource(entities[2:])
    update = world.reindex()
    world.assert_succeeded(update)
    assert update.gate is None, "nothing goes live that was not"

    world.source = ListSource(entities[5:])
    declare(world, **ANOTHER)
    second = world.reindex()
    assert_went_live(world, second, 2)
    assert second.gate is not None
    assert (second.gate["entities"], second.gate["lost"]) == (35, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_small_index_goes_live(world: World, count: int) -> None:
    world.source = ListSource([article(number, words=3) for number in range(count)])
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert job.gate is not None
    assert job.gate["sampled"] == count


def test_texts_that_stand_in_many_entities_are_found_in_any_of_them(world: World) -> None:
    same = {"title": "The same", "body": "in all of them"}
    entities = [Entity(f"same{number}", same) for number in range(60)]
    world.source = ListSource(entities + [article(number) for number in range(3)])
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert job.gate is not None
    assert job.gate["missed"] == 0


def test_texts_that_differ_only_in_case_may_have_one_vector(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = StubEmbedder.embed
    model = StubEmbedder(world.models["stub"])
    embed_as(monkeypatch, lambda texts: embed(model, [text.casefold() for text in texts]))
    spellings = ["screw m3", "Screw M3", "SCREW M3", "Screw m3", "screw M3", "SCREW m3"]
    world.source = ListSource(
        [Entity(f"e{number}", {"title": text}) for number, text in enumerate(spellings)]
    )
    assert_went_live(world, world.reindex(), 1)


def test_vectors_that_are_not_those_of_their_texts_do_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = [article(number) for number in range(30)]
    indexed(world, entities)
    declare(world, **ANOTHER)
    chance = np.random.default_rng(0)
    with monkeypatch.context() as wrong:
        embed_as(wrong, lambda texts: chance.normal(size=(len(texts), 384)).astype(np.float32))
        job = world.reindex()
    assert_refused(world, job, "not that of their text", "builds it anew")
    # A sound model finds every fingerprint right: the generation had to be given up.
    job = world.reindex()
    assert_went_live(world, job, 3)
    assert job.counters.indexed == 30
    assert states(world) == {1: "retired", 2: "dropped", 3: "live"}


def test_one_worker_that_computes_wrongly_is_enough(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(world, [article(number) for number in range(60)])
    declare(world, **ANOTHER)
    embed = StubEmbedder.embed
    model = StubEmbedder(world.models["stub"])
    calls = iter(range(1_000))
    with monkeypatch.context() as wrong:
        # Every second page is another worker's.
        embed_as(wrong, lambda texts: embed(model, texts) * (-1.0) ** next(calls))
        job = world.reindex()
    assert_refused(world, job, "of 30 sampled chunks", "different files of one model")


def test_what_another_model_left_under_a_number_is_not_taken_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that was lost, or restored, counts generations anew, in collections that it does
    not know any more."""
    entities = [article(number, words=200) for number in range(20)]
    indexed(world, entities)
    forget_generations(world)
    embed, model = StubEmbedder.embed, StubEmbedder(world.models["stub"])
    # As a model does of which a prefix was changed: its vectors are others, and not far away.
    embed_as(
        monkeypatch, lambda texts: np.roll(embed(model, texts), 1, 1) + 3 * embed(model, texts)
    )
    world.models["stub"] = replace(world.models["stub"], passage_prefix="passage: ")
    declare(world, model_digest=world.models["stub"].digest)
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert job.gate is not None
    assert job.gate["similarity"] > 0.9999
    assert job.counters.embedded == job.counters.chunks
    world.assert_index_equals(entities)


def forget_generations(world: World) -> None:
    with world.runtime.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE indexes SET live_generation = NULL")
        connection.exec_driver_sql("DELETE FROM generations")
    world.restart()


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_vectors_that_are_all_alike_do_not_go_live(
    world: World, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    indexed(world, [article(number) for number in range(30)])
    declare(world, **ANOTHER)
    embed_as(monkeypatch, lambda texts: np.full((len(texts), 384), value, np.float32))
    said = "one and the same vector" if value else "not that of their text"
    assert_refused(world, world.reindex(), said)


class Searching:
    """The store's search, replaced by `answer`; `exact` leaves searches that are to be exact."""

    def __init__(
        self,
        store: VectorStore,
        monkeypatch: pytest.MonkeyPatch,
        answer: Callable[[list[Hit], int], list[Hit]],
        *,
        exact: bool = True,
    ) -> None:
        search = store.search
        self.asked = 0

        def replaced(*arguments: Any, **options: Any) -> list[Hit]:
            hits = search(*arguments, **options)
            if options.get("exact") and not exact:
                return hits
            self.asked += 1
            return answer(hits, self.asked)

        monkeypatch.setattr(store, "search", replaced)


def test_a_generation_that_is_not_found_does_not_go_live_and_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(world, [article(number) for number in range(30)])
    declare(world, **ANOTHER)
    with monkeypatch.context() as wrong:
        Searching(world.store, wrong, lambda _hits, _asked: [])
        assert_refused(world, world.reindex(), "finds nothing at all")
    with monkeypatch.context() as wrong:
        # As if another partition were searched.
        Searching(world.store, wrong, lambda hits, _: [replace(one, entity_id="x") for one in hits])
        job = world.reindex()
    assert_refused(world, job, "does not find it", "found were x")
    job = world.reindex()
    assert_went_live(world, job, 2)
    assert (job.counters.unchanged, job.counters.embedded) == (30, 0)


@pytest.mark.parametrize(("every", "passes"), [(4, True), (1, False)])
def test_what_only_an_exact_search_finds_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch, every: int, passes: bool
) -> None:
    indexed(world, [article(number) for number in range(30)])
    declare(world, **ANOTHER)

    def miss(hits: list[Hit], asked: int) -> list[Hit]:
        return [replace(one, entity_id="x", score=0.0) for one in hits] if not asked % every else []

    def answer(hits: list[Hit], asked: int) -> list[Hit]:
        return miss(hits, asked) or hits

    Searching(world.store, monkeypatch, answer, exact=False)
    job = world.reindex()
    if passes:
        assert_went_live(world, job, 2)
        assert job.gate is not None
        assert 0 < job.gate["missed"] < job.gate["sampled"] / 2
    else:
        assert_refused(world, job, "found only where every point is compared")


def test_a_model_that_is_away_delays_the_gate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = [article(number) for number in range(12)]
    world.source = ListSource(entities)
    embed = StubEmbedder.embed
    model = StubEmbedder(world.models["stub"])
    away = iter([False, False, True, True])

    def flaky(texts: Sequence[str]) -> Vectors:
        if next(away, False):
            raise ModelUnavailable
        return embed(model, texts)

    embed_as(monkeypatch, flaky)
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert next(away, None) is None, "the model was away"


def query(number: int) -> str:
    """The whole text of an article of 20 words, which the stub finds by nothing less."""
    fields = article(number).fields
    return f"{fields['title']}\n{fields['body']}"


def test_declared_canaries_are_asked_before_a_generation_goes_live(world: World) -> None:
    entities = [article(number) for number in range(30)]
    world.source = ListSource(entities)
    declare(world, Canary(query(3), ("nobody", "a3"), 1), Canary(query(4), ("a4",), 5))
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert job.gate is not None
    assert job.gate["canaries"] == 2


def test_a_failed_canary_names_query_expected_and_found(world: World) -> None:
    entities = [article(number) for number in range(30)]
    indexed(world, entities)
    world.source.entities.append(Entity("broken", {"title": "\0"}))
    wrong = Canary(query(3), ("a4", "gone", "broken"), 1)
    declare(world, wrong, Canary(query(5), ("a5",), 10), **ANOTHER)
    job = world.reindex()
    assert_refused(
        world,
        job,
        f"Canary {wrong.text!r} has to find a4 or gone or broken among the first 1 entities",
        "it finds a3.",
        "The source does not list gone; correct the canary.",
        "Could not be indexed: broken.",
    )
    assert query(5) not in job.message
    assert states(world) == {1: "live", 2: "building"}

    # A corrected canary builds nothing anew, and what was built is gone on with.
    declare(world, Canary(query(3), ("a3",), 1), **ANOTHER)
    job = world.reindex()
    assert_went_live(world, job, 2)
    assert job.counters.embedded == 0


def test_a_canary_of_a_first_index_keeps_it_from_going_live(world: World) -> None:
    world.source = ListSource([article(1)])
    declare(world, Canary("anything", ("a2",), 10))
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "it finds a1. The source does not list a2" in job.message
    assert "Searches go on" not in job.message
    assert world.runtime.catalog.indexes.live(job.index_id) is None


def test_a_canary_looks_at_entities_not_at_chunks(world: World) -> None:
    long = Entity("long", {"title": "", "body": "one word " * 3_000})
    world.source = ListSource([long, article(1)])
    canary = Canary("one word " * 20, ("a1",), 2)
    declare(world, canary)
    job = world.reindex()
    assert_went_live(world, job, 1)
    assert job.counters.chunks > 20


def test_a_canary_that_the_model_cannot_read_is_told(world: World) -> None:
    world.source = ListSource([article(1)])
    declare(world, Canary("word " * 600, ("a1",), 1))
    job = world.reindex()
    assert job.state == JobState.FAILED
    assert "cannot be embedded: text 0 is 602 tokens long" in job.message


def test_a_live_generation_is_updated_whatever_its_canaries_say(world: World) -> None:
    entities = [article(number) for number in range(30)]
    indexed(world, entities)
    declare(world, Canary("anything", ("nobody",), 1))
    world.source.entities[3] = article(3, words=40)
    job = world.reindex()
    world.assert_succeeded(job)
    world.assert_index_equals(world.source.entities)
    assert job.gate is None


def at_the_end(world: World, tamper: Callable[[], None]) -> Job:
    """A job before whose end `tamper` happens to the generation it builds."""
    job = world.request()
    while world.messages.waiting[0][0] != "finish":
        world.deliver(world.messages.waiting.pop(0))
    tamper()
    world.run()
    return world.job(job.id)


def test_every_marker_of_a_new_generation_is_held_against_the_listing(world: World) -> None:
    entities = [article(number) for number in range(30)]
    indexed(world, entities)
    declare(world, **ANOTHER)
    following = replace(world.partition(), generation=2)
    job = at_the_end(world, lambda: world.store.void(following, {"a7": 1}))
    assert_went_live(world, job, 2)
    world.assert_index_equals(entities)

    declare(world, splitting=Splitting(chunk_size=120))
    following = replace(world.partition(), generation=3)
    job = at_the_end(world, lambda: world.store.delete_chunks(following, [("a8", 0)]))
    assert_went_live(world, job, 3)
    world.assert_index_equals(entities)
