"""Searches while a generation is built beside the live one and switched to: each is answered from
one of the two, and none is empty."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import corpora
import pytest
import yaml
from collection import Cacm
from trial import SECONDS_TO_RECOVER, Trial

from celeriac.store.base import StoredChunk

TEXT = "a method to compute"


@pytest.mark.matrix("switch")
def test_no_search_is_empty_or_mixed_while_generations_are_switched(
    trial: Trial, cacm: Cacm
) -> None:
    documents = corpora.some(trial.chance, cacm, 120)
    trial.write([{**one, "abstract": " ".join([one["abstract"]] * 8)} for one in documents])
    before = trial.end_right(trial.request())
    old = texts(trial.points(before).values())
    with Searcher(trial).searching() as searcher, redeclared(trial, chunk_size=300):
        after = trial.end_right(trial.request())
        new = texts(trial.points(after).values())
        searcher.await_answer_beyond(old)
        trial.injected()
    assert after["generation"] == before["generation"] + 1
    assert searcher.failures == []
    assert all(found for found in searcher.answers), "an empty answer"
    # Most texts are cut otherwise in the two; where a few are not, an answer may be of both.
    assert all(found <= old or found <= new for found in searcher.answers), "a mixed answer"
    first = next(number for number, found in enumerate(searcher.answers) if not found <= old)
    assert first > 0
    assert all(found <= new for found in searcher.answers[first:]), "the old one answered again"


@dataclass
class Searcher:
    """Asks without a pause, from a thread of its own."""

    trial: Trial
    answers: list[set[str]] = field(default_factory=list)
    """The texts of each answer's hits."""
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def searching(self) -> Iterator[Searcher]:
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,))
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def await_answer_beyond(self, texts: set[str]) -> None:
        """Return once a search was answered with others than these."""
        deadline = time.monotonic() + SECONDS_TO_RECOVER
        while self.answers[-1] <= texts:
            assert time.monotonic() < deadline, "searches do not see the new generation"
            time.sleep(0.05)

    def _run(self, stop: threading.Event) -> None:
        path = f"/ai-rag-indexer/{self.trial.articles.tenant}/article/search"
        while not stop.is_set():
            answer = self.trial.service.client.post(path, json={"text": TEXT, "top_k": 50})
            if answer.status_code == 200:
                self.answers.append({hit["text"] for hit in answer.json()["hits"]})
            else:
                self.failures.append(answer.text)


@contextmanager
def redeclared(trial: Trial, **index: object) -> Iterator[None]:
    """Workers that cut this trial's texts otherwise; restarted one after the other."""
    path = trial.articles.configuration
    declared = yaml.safe_load(path.read_text())
    text = path.read_text()
    declared["tenants"][trial.articles.tenant]["entity_types"]["article"]["index"].update(index)
    path.write_text(yaml.safe_dump(declared))
    trial.restart_workers()
    try:
        yield
    finally:
        path.write_text(text)
        trial.restart_workers()


def texts(points: Iterable[StoredChunk]) -> set[str]:
    return {point.text for point in points}
