"""Documents by chance, and how they change from job to job."""

from __future__ import annotations

import random

from collection import Cacm, JsonObject

SHARE_REMOVED = 0.15
"""Below the share of an index that one job may remove."""


def some(chance: random.Random, cacm: Cacm, count: int) -> list[JsonObject]:
    """So many documents of the collection, each with an abstract."""
    return chance.sample([one for one in cacm.documents if one["abstract"]], count)


def changed(
    chance: random.Random, cacm: Cacm, documents: list[JsonObject]
) -> tuple[list[JsonObject], int]:
    """The documents some time later, and how many of them are gone: some have changed (grown,
    shrunk, or in their metadata alone), some are new."""
    gone = set(chance.sample(range(len(documents)), int(len(documents) * SHARE_REMOVED)))
    kept = [one for number, one in enumerate(documents) if number not in gone]
    later = [_revised(chance, one) if chance.random() < 0.3 else one for one in kept]
    known = {one["id"] for one in documents}
    unknown = [one for one in cacm.documents if one["abstract"] and one["id"] not in known]
    return later + chance.sample(unknown, chance.randrange(1, 8)), len(gone)


def _revised(chance: random.Random, document: JsonObject) -> JsonObject:
    abstract = document["abstract"]
    revision = chance.choice(
        [
            {"abstract": " ".join([abstract] * chance.randrange(2, 6))},
            {"abstract": abstract[: max(20, len(abstract) // 3)]},
            {"published": f"19{chance.randrange(60, 80)}"},
        ]
    )
    return {**document, **revision}
