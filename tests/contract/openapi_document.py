"""An OpenAPI document as an oracle: what an operation may answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]
NAME = "urn:document"
CONTRACTS = Path(__file__).parent.parent / "data" / "contracts"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    parameters: list[Json]
    declared: Json

    @property
    def id(self) -> str:
        return str(self.declared["operationId"])

    @property
    def success(self) -> set[int]:
        return {int(status) for status in self.declared["responses"] if status[0] == "2"}


@dataclass(frozen=True)
class Document:
    """A document that answers can be held against."""

    contents: Json

    @classmethod
    def published(cls, name: str) -> Document:
        """A published contract, as it stands in `data/contracts`."""
        return cls(yaml.safe_load((CONTRACTS / f"{name}.yaml").read_text("utf-8")))

    @cached_property
    def operations(self) -> list[Operation]:
        return list(self._operations())

    def _operations(self) -> Iterator[Operation]:
        for path, item in self.contents["paths"].items():
            for method, declared in item.items():
                if method != "parameters":
                    yield Operation(path, method, item.get("parameters", []), declared)

    def operation_of(self, method: str, path: str) -> Operation:
        """What answers to this request; a path that is written out goes before a template."""
        fitting = [one for one in self.operations if _fits(one, method.lower(), path)]
        assert fitting, f"{method} {path} is not in the document"
        return min(fitting, key=lambda one: one.path.count("{"))

    def check(self, answer: httpx.Response) -> None:
        """Assert that the answer is one that its operation documents, to the letter."""
        request = answer.request
        operation = self.operation_of(request.method, request.url.path)
        where = f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:300]}"
        responses = operation.declared["responses"]
        assert str(answer.status_code) in responses, f"{where} is not documented"
        declared = self._resolved(responses[str(answer.status_code)])
        content = declared.get("content")
        if content is None:
            assert answer.content == b"", f"{where}: no body is documented"
            return
        media_type = answer.headers["Content-Type"].partition(";")[0]
        assert media_type in content or "*/*" in content, f"{where}: {media_type}"
        if media_type == "application/json":
            self._check_body(content[media_type]["schema"], answer.json(), where)

    def _check_body(self, schema: Json, body: Any, where: str) -> None:
        validator = Draft202012Validator(
            self._absolute(schema),
            registry=self._registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
        assert errors == [], where

    @cached_property
    def _registry(self) -> Registry[Any]:
        resource = Resource(contents=self.contents, specification=DRAFT202012)
        return Registry().with_resource(NAME, resource)

    def _resolved(self, response: Json) -> Json:
        if "$ref" not in response:
            return response
        found: Any = self.contents
        for part in response["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        resolved: Json = found
        return resolved

    def _absolute(self, schema: Any) -> Any:
        """The schema with its references led into the registry."""
        if isinstance(schema, dict):
            return {
                key: f"{NAME}{value}" if key == "$ref" else self._absolute(value)
                for key, value in schema.items()
            }
        return [self._absolute(one) for one in schema] if isinstance(schema, list) else schema


def _fits(operation: Operation, method: str, path: str) -> bool:
    template = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(operation.path))
    return operation.method == method and re.fullmatch(template, path) is not None
