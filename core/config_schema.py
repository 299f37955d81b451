"""The JSON Schema of `fuseid.yaml`, for editors that complete and check it."""

from __future__ import annotations

from typing import Any

from fuseid.core.config import KINDS, Config, Section

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """JSON Schema 2020-12, with the description and the default of every key. A section that has kinds is one of them.
    What depends on several keys, such as a share of a limit, is checked by `load_config` alone."""
    schema: dict[str, Any] = Config.model_json_schema()
    definitions = schema["$defs"]
    for base, sections, default in KINDS:
        for name, section in sections.items():
            found = section.model_json_schema()
            definitions |= found.pop("$defs", {})
            found["properties"]["kind"] = {"const": name}
            if name != default:
                # Without it the section is of the default kind.
                found["required"] = ["kind"]
            definitions[_of_kind(base, name)] = found
        definitions[base.__name__] = {
            "description": definitions.get(base.__name__, {}).get("description", ""),
            "anyOf": [{"$ref": f"#/$defs/{_of_kind(base, name)}"} for name in sections],
        }
    for section in definitions.values():
        section.pop("title", None)
        for field in section.get("properties", {}).values():
            field.pop("title", None)
    return {"$schema": DIALECT, **schema, "title": "fuseid.yaml"}


def _of_kind(base: type[Section], kind: str) -> str:
    return f"{base.__name__}.{kind}"
