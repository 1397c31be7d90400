"""What the OpenAPI document says, in the shape that tests look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openapi_schema_validator import OAS31Validator

from service.ingress.api_page import DOCUMENT_PATH
from tests.system import Hantar


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of the document."""

    method: str
    path: str
    content: Mapping[str, Any]
    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.content["operationId"])

    @property
    def request(self) -> tuple[str, Any] | None:
        """Media type and description of the body."""
        body = self.content.get("requestBody")
        if body is None:
            return None
        [(media_type, described)] = body["content"].items()
        return media_type, described

    def answers(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Each status it answers, and how."""
        for status, response in self.content["responses"].items():
            yield int(status), self.resolved(response)

    def parameters(self) -> list[Mapping[str, Any]]:
        """Its parameters, wherever they stand."""
        return [self.resolved(parameter) for parameter in self.content["parameters"]]

    def resolved(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference refers to; anything else as it is."""
        if "$ref" not in item:
            return item
        found: Any = self.document
        for part in item["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, dict)
        return found

    def errors(self, schema: Mapping[str, Any], value: object) -> list[str]:
        """What is wrong with a value by a schema of the document."""
        whole = {"allOf": [schema], "components": self.document["components"]}
        return [error.message for error in OAS31Validator(whole).iter_errors(value)]


async def document(hantar: Hantar) -> dict[str, Any]:
    """The document as it is served."""
    answer = await hantar.call("GET", DOCUMENT_PATH)
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


async def operations(hantar: Hantar) -> list[Described]:
    """Every operation, in the order of the page."""
    served = await document(hantar)
    return [
        Described(method.upper(), path, content, served)
        for path, methods in served["paths"].items()
        for method, content in methods.items()
    ]
