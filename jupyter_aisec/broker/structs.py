"""Structs of the pure rooms as answers: FastAPI sends and describes them as msgspec does."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from jupyter_aisec.grants.view import Explained, GrantView

__all__ = ["ExplainedOut", "GrantOut"]


class _Struct:
    """For pydantic: a value of this type is its own, and looks in JSON as msgspec says."""

    def __init__(self, type_: type[msgspec.Struct]) -> None:
        self._type = type_

    def __get_pydantic_core_schema__(self, source: Any, _: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema(
            ref=f"{self._type.__module__}.{self._type.__qualname__}",
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(schema)
        described = msgspec.json.schema(self._type)
        handler.resolve_ref_schema(reference).update(_inlined(described, described["$defs"]))
        return reference


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every reference replaced by what it stands for; no struct holds itself."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}


GrantOut = Annotated[GrantView, _Struct(GrantView)]
ExplainedOut = Annotated[Explained, _Struct(Explained)]
