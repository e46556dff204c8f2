"""What a new generation has to pass before searches read it.

That every listed entity is there, with the listed fingerprint, and nothing else, every job verifies
(`celeriac.finish`). A generation that is to take another's place may moreover not lack more of that
one than a sweep might remove of it, and has to be found in: `celeriac.canaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celeriac.canaries import Sample, ask_canaries, find_sample
from celeriac.catalog.indexes import Generation
from celeriac.catalog.jobs import Job
from celeriac.catalog.listings import IN_INDEX
from celeriac.configuration import EntityType
from celeriac.errors import CanaryFailed, RemovalRefused, UnsoundVectors
from celeriac.model import Outcome
from celeriac.runtime import Runtime
from celeriac.tally import entity_key


@dataclass(frozen=True, slots=True)
class Passed:
    """What was found of a generation that may go live."""

    entities: int
    """With the fingerprint that their listing gives."""
    chunks: int
    lost: int
    """Entities of the live generation that it does not have."""
    sampled: int
    """Chunks that were searched for by their own text."""
    similarity: float | None
    """The lowest cosine between the vectors of such a text now and when it was stored."""
    missed: int
    """Those that the store finds only where it compares every point."""
    canaries: int
    """Canary queries that were answered."""


class Gate:
    """Lets one job's new generation pass, or raises."""

    def __init__(
        self, runtime: Runtime, job: Job, building: Generation, checkpoint: Callable[[], None]
    ) -> None:
        self._runtime = runtime
        self._job = job
        self._building = building
        self._checkpoint = checkpoint
        self._declared: EntityType = runtime.entity_type(job.tenant, job.entity_type)

    def open(
        self, live: Generation | None, sample: Sample, *, entities: int, chunks: int
    ) -> Passed:
        """Compare with the live generation and search in the new one.

        Raises:
            RemovalRefused: too many entities of the live generation are not in the new one.
            CanaryFailed: a search does not find what it must. A generation of unsound vectors is
                given up, for whoever goes on with it would find every entity unchanged.
            ModelUnavailable, StoreUnavailable: for now.
        """
        lost = 0 if live is None else self._refuse_loss(live)
        try:
            found = find_sample(self._runtime, self._building, sample, self._checkpoint)
            canaries = self._declared.canaries
            ask_canaries(self._runtime, self._building, canaries, self._listed, self._checkpoint)
        except UnsoundVectors as error:
            self._runtime.catalog.generations.give_up(self._building)
            raise self._refusal(error, live, " The next reindex builds it anew.") from error
        except CanaryFailed as error:
            raise self._refusal(error, live) from error
        return Passed(
            entities=entities,
            chunks=chunks,
            lost=lost,
            sampled=found.sampled,
            similarity=found.similarity,
            missed=found.missed,
            canaries=len(canaries),
        )

    def _refusal(
        self, error: CanaryFailed, live: Generation | None, then: str = ""
    ) -> CanaryFailed:
        stays = "" if live is None else f" Searches go on in generation {live.number}."
        return CanaryFailed(
            f"Generation {self._building.number} does not go live. {error}{stays}{then}"
        )

    def _refuse_loss(self, live: Generation) -> int:
        """How many entities of the live generation the new one lacks."""
        markers = lost = 0
        for batch in self._runtime.store.scan_markers(live.partition):
            self._checkpoint()
            outcomes = self._listed([marker.entity_id for marker in batch])
            markers += len(batch)
            lost += len(batch) - sum(outcome in IN_INDEX for outcome in outcomes.values())
        limit = removal_limit(self._runtime, self._job)
        if lost > limit * markers:
            raise RemovalRefused(
                f"The source no longer lists {lost} of the {markers} entities of the live "
                f"generation {live.number}, or they cannot be indexed any more: more than the "
                f"{limit:.0%} that one job may remove. Generation {self._building.number} does not "
                "go live. If that is right, confirm it: "
                f"celeriac confirm-removal {self._job.id}, or "
                f"POST /jobs/{self._job.id}/confirm-removal."
            )
        return lost

    def _listed(self, entity_ids: Sequence[str]) -> dict[str, Outcome]:
        keys = {entity_key(self._building.partition, one): one for one in entity_ids}
        expected = self._runtime.catalog.listings.expected(self._job.id, list(keys))
        return {keys[key]: found.outcome for key, found in expected.items()}


def removal_limit(runtime: Runtime, job: Job) -> float:
    """The share of an index that the job may remove, 0 to 1."""
    if job.removal_limit is not None:
        return job.removal_limit
    return runtime.entity_type(job.tenant, job.entity_type).removal_limit


def refuse_mass_removal(runtime: Runtime, job: Job, gone: int, markers: int) -> None:
    """Raise RemovalRefused where so many of so many indexed entities are more than the job may
    remove."""
    limit = removal_limit(runtime, job)
    if gone > limit * markers:
        raise RemovalRefused(
            f"The source no longer lists {gone} of the {markers} indexed entities, or they have no "
            f"text any more: more than the {limit:.0%} that one job may remove. Nothing was "
            "removed. If that is right, confirm it: "
            f"celeriac confirm-removal {job.id}, or POST /jobs/{job.id}/confirm-removal."
        )
