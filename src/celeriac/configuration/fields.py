"""Kinds of values in a configuration file that marshmallow does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from marshmallow import ValidationError, fields

from celeriac.configuration.schedule import cron_expression, time_zone
from celeriac.embedding.models import EmbeddingModel
from celeriac.model import FilterField, TextField
from celeriac.sources.registry import load_options


def distinct(items: Sequence[TextField | FilterField]) -> None:
    """Refuse what stands earlier in the list already: a text field, a filter field's key."""
    keys = [item.key if isinstance(item, FilterField) else item for item in items]
    repeated = {
        position: ["is listed twice"] for position, key in enumerate(keys) if key in keys[:position]
    }
    if repeated:
        raise ValidationError(repeated)


class WholeNumber(fields.Integer):
    """An integer; a number with a fraction is refused where marshmallow would cut it."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class NetworkAddress(fields.Field[IPv4Network | IPv6Network]):
    """A network such as `10.1.0.0/16` or `fd00::/8`."""

    def _deserialize(
        self,
        value: Any,
        attr: str | None,  # noqa: ARG002 - marshmallow's signature
        data: Mapping[str, Any] | None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> IPv4Network | IPv6Network:
        try:
            return ip_network(str(value))
        except ValueError as error:
            raise ValidationError(f"must be a network such as 10.1.0.0/16: {error}") from None


class CronExpression(fields.String):
    """Five fields of a cron expression, loaded with one space between them."""

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return cron_expression(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class TimeZone(fields.String):
    """A name of the IANA time zone database."""

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return time_zone(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class SourceOptions(fields.Field[dict[str, Any]]):
    """A mapping whose `kind` chooses the kind of source, and so its other keys."""

    def _deserialize(
        self,
        value: Any,
        attr: str | None,  # noqa: ARG002 - marshmallow's signature
        data: Mapping[str, Any] | None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValidationError("must be a mapping with the key 'kind'")
        return load_options(value)


class Models(fields.Dict):
    """Descriptions of embedding models by name; the name is not repeated in them."""

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> dict[str, EmbeddingModel]:
        if isinstance(value, Mapping):
            value = {name: _named(name, options) for name, options in value.items()}
        models: dict[str, EmbeddingModel] = super()._deserialize(  # type: ignore[no-untyped-call]
            value, attr, data, **kwargs
        )
        return models


def _named(name: str, options: Any) -> Any:
    if not isinstance(options, Mapping):
        return options
    if "name" in options:
        raise ValidationError({name: {"value": {"name": ["is the key above; remove it here"]}}})
    return {"name": name, **options}
