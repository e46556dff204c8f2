"""Entities that cannot be indexed: each is reported with its class, what is wrong with it, and
whether a retry may help; the rest is indexed."""

from __future__ import annotations

import json

import corpora
import pytest
from collection import Cacm, JsonObject
from trial import Trial

pytestmark = pytest.mark.matrix("poison")

LINES = {
    '{"id": "cut", "title": "': "UnreadableDocument",
    '["a", "list"]': "UnreadableDocument",
    '{"title": "It has no id."}': "MissingId",
    '{"id": "", "title": "Its id is empty."}': "MissingId",
    '{"id": {"a": 1}, "title": "Its id is an object."}': "MissingId",
    json.dumps({"id": "i" * 600, "title": "Its id is too long."}): "MissingId",
    '{"id": "nul", "title": "a\\u0000b"}': "NotText",
    '{"id": "half", "title": "\\ud800"}': "NotText",
    '{"id": "binary", "title": "\\u0001\\u0002\\u0003\\u0004 a"}': "NotText",
    '{"id": "filter", "title": "A filter field of another type.", "published": {"a": 1}}': (
        "EntityError"
    ),
    '{"id": "empty", "title": " ", "abstract": null}': "EmptyText",
}
"""Lines of the source, and the class of the error that each is reported with."""


def test_what_cannot_be_indexed_is_reported_and_the_rest_is_indexed(
    trial: Trial, cacm: Cacm
) -> None:
    sound = corpora.some(trial.chance, cacm, 60)
    sound[5] = huge(sound[5])
    sound[6] = {
        **sound[6],
        "abstract": "Control \x07 and\x1b[0m others, few enough, are text. " * 9,
    }
    lines = list(LINES)
    trial.chance.shuffle(lines)
    trial.write(sound, also="\n".join(lines) + "\n")
    trial.injected(len(lines) + 2)
    job = trial.await_end(trial.request())
    trial.assert_right(job, failed=len(lines))
    assert sorted(error["class"] for error in job["errors"]) == sorted(LINES.values())
    for error in job["errors"]:
        assert error["message"]
        assert error["retryable"] is False
        assert error["entity_id"] is not None or "documents.jsonl" in error["message"]


def huge(document: JsonObject) -> JsonObject:
    """A megabyte of it, some thousand chunks."""
    return {**document, "abstract": document["abstract"] * (1_000_000 // len(document["abstract"]))}
