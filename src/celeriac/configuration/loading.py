"""From a file to a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from celeriac.configuration.declarations import (
    Configuration,
    EntityType,
    Tenant,
    entity_type_name,
)
from celeriac.configuration.document import Document, read_document
from celeriac.configuration.problems import (
    KeyPath,
    Problem,
    configuration_error,
    suggestion,
)
from celeriac.configuration.schemas import ConfigurationSchema
from celeriac.configuration.validation import validated
from celeriac.embedding.models import AUTO, EmbeddingModel, Engine
from celeriac.embedding.registry import BUILTIN
from celeriac.model import IndexSpec, Priority
from celeriac.sources.databases import beside


def load_configuration(
    file: Path | None, environ: Mapping[str, str], *, dtype: str = AUTO
) -> Configuration:
    """Read a configuration file; None gives an empty configuration with the built-in models.

    Args:
        file: YAML.
        environ: what `${NAME}` reads.
        dtype: what models are computed in that are declared without a dtype.

    Raises:
        ConfigurationError: the file cannot be read, or with a line for each thing in it that has
            to change.
    """
    if file is None:
        return Configuration({}, _computed_in(dtype, BUILTIN), None)
    document = read_document(file, environ)
    loaded, problems = validated(document, ConfigurationSchema())
    unreadable = {problem.path for problem in document.problems}
    problems = [
        *document.problems,
        *(problem for problem in problems if problem.path not in unreadable),
        *_unknown_models(document),
        *_types_declared_twice(document),
    ]
    if problems:
        raise configuration_error(file, problems)
    return _configuration(document, loaded, dtype)


def _configuration(document: Document, loaded: Mapping[str, Any], dtype: str) -> Configuration:
    models = _computed_in(dtype, {**BUILTIN, **(loaded["models"] or {})})
    tenants = {
        tenant: Tenant(
            tenant,
            _entity_types(document.file, tenant, declared, models),
            declared["max_rag_bytes"],
        )
        for tenant, declared in (loaded["tenants"] or {}).items()
    }
    return Configuration(
        tenants, models, document.file, frozenset(document.variables), loaded["security"]
    )


def _computed_in(dtype: str, models: Mapping[str, EmbeddingModel]) -> dict[str, EmbeddingModel]:
    """The models, those without a dtype with this one: vectors of another are another model's."""
    return {
        name: replace(model, dtype=dtype)
        if model.engine is Engine.TORCH and model.dtype == AUTO
        else model
        for name, model in models.items()
    }


def _entity_types(
    file: Path, tenant: str, declared: Mapping[str, Any], models: Mapping[str, EmbeddingModel]
) -> dict[str, EntityType]:
    entity_types = {}
    for written, options in (declared["entity_types"] or {}).items():
        name = entity_type_name(written)
        entity_types[name] = EntityType(
            tenant=tenant,
            name=name,
            source=_resolved(options["source"], file.parent),
            spec=_spec(options, models),
            schedule=options["schedule"],
            removal_limit=options["index"]["removal_limit"],
            priority=Priority.labelled(options["priority"]),
            max_entities_per_second=options["max_entities_per_second"],
            canaries=tuple(options["canaries"]),
        )
    return entity_types


def _spec(options: Mapping[str, Any], models: Mapping[str, EmbeddingModel]) -> IndexSpec:
    index = options["index"]
    model = models[index["model"]]
    return IndexSpec(
        model=model.name,
        model_digest=model.digest,
        dimension=model.dimension,
        splitting=index["splitting"],
        text_fields=tuple(options["text_fields"]),
        filter_fields=tuple(options["filter_fields"]),
        own_collection=index["own_collection"],
    )


def _resolved(source: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The options with a relative path of files or of a SQLite database made absolute, from the
    configuration file's folder."""
    if source["kind"] == "sql":
        return {**source, "url": beside(source["url"], folder)}
    path = source.get("path")
    if source["kind"] != "files" or not isinstance(path, str):
        return source
    if "://" in path or path.startswith("~"):
        return source
    return {**source, "path": str(folder.absolute() / path)}


def _unknown_models(document: Document) -> Iterator[Problem]:
    declared = _mapping(document.data, "models")
    known = {*BUILTIN, *declared}
    for path, options in _entity_type_options(document):
        name = _mapping(options, "index").get("model")
        if isinstance(name, str) and name not in known:
            where = (*path, "index", "model")
            shown = document.written.get(where, name)
            message = f"there is no embedding model '{shown}'; {suggestion(name, known)}"
            yield document.problem(where, message)


def _types_declared_twice(document: Document) -> Iterator[Problem]:
    first: dict[KeyPath, KeyPath] = {}
    for path, _ in _entity_type_options(document):
        key = (path[1], entity_type_name(str(path[-1])))
        original = first.setdefault(key, path)
        if original != path:
            line = document.line(original)
            message = f"is declared already, as '{original[-1]}' on line {line}"
            yield document.problem(path, message)


def _entity_type_options(document: Document) -> Iterator[tuple[KeyPath, Any]]:
    """What is written under each entity type, valid or not."""
    for tenant in (tenants := _mapping(document.data, "tenants")):
        entity_types = _mapping(tenants[tenant], "entity_types")
        for name, options in entity_types.items():
            yield ("tenants", tenant, "entity_types", name), options


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    """The mapping under a key; an empty one where there is none."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
