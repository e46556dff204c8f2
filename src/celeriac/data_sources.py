"""Data sources that tenants make by API: checked when they are made, opened when listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields
from marshmallow.validate import Length

from celeriac.catalog.data_sources import DataSource, DataSourceType
from celeriac.configuration import Configuration, EntityType
from celeriac.configuration.schemas import TextFieldSchema
from celeriac.errors import ConfigurationError
from celeriac.model import IndexSpec, Splitting, TextField
from celeriac.public_network import PublicTransport
from celeriac.rendering import Renderer
from celeriac.sources.linked import Link
from celeriac.sources.registry import build_source
from celeriac.sources.rest import RestOptions, build_rest

OWN_OPTIONS = frozenset({"text_fields"})
"""Options of a REST data source beside those of the source itself."""


class _TextFields(Schema):
    text_fields = fields.List(
        fields.Nested(TextFieldSchema),
        load_default=lambda: [TextField("text")],
        validate=Length(min=1),
    )


def check_data_source(
    kind: DataSourceType,
    origin_url: str,
    options: Mapping[str, Any],
    credentials: Mapping[str, Any],
    declared: Mapping[str, EntityType],
) -> None:
    """Refuse a data source that could not be opened; nothing is connected.

    `declared` are the entity types that its tenant's configuration declares.

    Raises:
        marshmallow.ValidationError: with messages by key.
    """
    if kind == DataSourceType.ENTITY_TYPE:
        if origin_url not in declared:
            known = ", ".join(sorted(declared)) or "none"
            message = f"There is no entity type {origin_url!r}; this tenant declares {known}."
            raise ValidationError({"origin_url": [message]})
        return
    _rest_options(origin_url, options, credentials)
    _text_fields(options)


def open_link(data_source: DataSource, configuration: Configuration) -> Link:
    """A data source, ready to be listed. Nothing is connected yet.

    Raises:
        ConfigurationError: it leads to an entity type that is not declared any more, or its options
            are not valid any more.
    """
    try:
        if data_source.type == DataSourceType.ENTITY_TYPE:
            return _declared_link(data_source, configuration)
        return _rest_link(data_source, configuration)
    except ValidationError as error:
        raise ConfigurationError(
            f"The data source {data_source.name!r} is not valid any more: {error.messages}"
        ) from None  # the validated data, secrets among it, hangs on the cause


def _declared_link(data_source: DataSource, configuration: Configuration) -> Link:
    declared = configuration.entity_type(data_source.tenant, data_source.origin_url)
    return Link(data_source.id, build_source(declared.source), Renderer(declared.spec))


def _rest_link(data_source: DataSource, configuration: Configuration) -> Link:
    options = _rest_options(data_source.origin_url, data_source.options, data_source.credentials)
    transport = PublicTransport(configuration.security.allowed_networks)
    spec = IndexSpec("", "", 0, Splitting(), _text_fields(data_source.options))
    return Link(data_source.id, build_rest(options, transport), Renderer(spec))


def _rest_options(
    origin_url: str, options: Mapping[str, Any], credentials: Mapping[str, Any]
) -> dict[str, Any]:
    own = {key: value for key, value in options.items() if key not in OWN_OPTIONS}
    if "auth" in own:
        raise ValidationError({"options": {"auth": ["Give it as `credentials`."]}})
    auth = {"auth": dict(credentials)} if credentials else {}
    loaded: dict[str, Any] = RestOptions().load({**own, **auth, "url": origin_url})
    return loaded


def _text_fields(options: Mapping[str, Any]) -> tuple[TextField, ...]:
    own = {key: value for key, value in options.items() if key in OWN_OPTIONS}
    return tuple(_TextFields().load(own)["text_fields"])
