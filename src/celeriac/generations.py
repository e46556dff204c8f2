"""Which generation is searched, and under which spec jobs write."""

from __future__ import annotations

from dataclasses import replace

from celeriac.catalog.indexes import Generation, IndexRow, index_id_of
from celeriac.configuration import EntityType
from celeriac.errors import ConfigurationError, NotFound
from celeriac.runtime import Runtime


def index_of(runtime: Runtime, declared: EntityType) -> IndexRow:
    """The index of an entity type.

    Raises:
        NotFound: nothing was indexed for it yet.
    """
    index = runtime.catalog.indexes.find(declared.tenant, declared.name)
    if index is None:
        raise _nothing_yet(declared)
    return index


def live_generation(runtime: Runtime, declared: EntityType) -> Generation:
    """The generation that searches of an entity type read.

    Raises:
        NotFound: nothing was indexed for it yet.
    """
    live = runtime.catalog.indexes.live(index_id_of(declared.tenant, declared.name))
    if live is None:
        raise _nothing_yet(declared)
    return live


def _nothing_yet(declared: EntityType) -> NotFound:
    return NotFound(
        f"Nothing is indexed yet for {declared.tenant}/{declared.name}; reindex it first."
    )


def in_force(runtime: Runtime, declared: EntityType) -> EntityType:
    """The entity type under the spec that its jobs write, plans foretell and audits compare.

    That is the declared one, unless the generation built under it was rolled back from: then it
    is the live generation's own, so that the live generation is kept equal to its source.

    Raises:
        ConfigurationError: the live generation's model is described otherwise by now.
    """
    index_id = index_id_of(declared.tenant, declared.name)
    live = runtime.catalog.generations.kept_instead(index_id, declared.spec.digest)
    if live is None:
        return declared
    if not has_its_model(runtime, live):
        name = f"{declared.tenant} {declared.name}"
        raise ConfigurationError(
            f"What is declared for {name.replace(' ', '/')} was rolled back from, and the model "
            f"{live.model!r} of the live generation {live.number} is not described any more as it "
            "was. Describe it so under `models:`, declare something else, or accept what was "
            f"rolled back from: celeriac rollback {name} --undo"
        )
    return replace(declared, spec=live.spec)


def ensure_collection(runtime: Runtime, generation: Generation, entity_type: EntityType) -> None:
    """Have the collection that a generation is written to, with its payload indexes."""
    spec = entity_type.spec
    runtime.store.ensure_collection(generation.collection, spec.dimension, spec.filter_fields)


def has_its_model(runtime: Runtime, generation: Generation) -> bool:
    """Whether the model that a generation was built with is still described as it was: another
    one's vectors are not comparable with its own."""
    model = runtime.settings.configuration.models.get(generation.model)
    return model is not None and model.digest == generation.model_digest
