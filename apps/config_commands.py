"""Commands about the configuration file: `fuseid config check | schema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fuseid.apps.options import Json

config_app = typer.Typer(no_args_is_help=True, help="Check a fuseid.yaml, or write its schema for editors.")


@config_app.command("check")
def config_check(
    file: Annotated[Path, typer.Argument(help="the configuration file")] = Path("fuseid.yaml"), json: Json = False
) -> None:
    """Check a configuration file, and list the keys that it sets beside their defaults."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.core.config import Config, load_config
    from fuseid.core.yaml_file import YamlFile

    config = load_config(file).model_dump(mode="json")
    default = Config().model_dump(mode="json")
    kinds = {name: {"kind": config[name]["kind"]} for name in ("fusion", "tokenizer")}
    of_kinds = Config.model_validate(kinds).model_dump(mode="json")
    rows = [
        {
            "key": ".".join(key),
            "value": _at(config, key),
            "default": _at(default if key[-1] == "kind" else of_kinds, key),
        }
        for key in _keys(YamlFile(file).data)
    ]
    if json:
        print_json({"config": str(file), "keys": rows})
        return
    print_rows([{name: _text(value) for name, value in row.items()} for row in rows], ("key", "value", "default"),
               title=f"{file}: every key is known and every value is allowed")  # fmt: skip


@config_app.command("schema")
def config_schema() -> None:
    """Write the JSON Schema of fuseid.yaml to standard output, with the description and default of every key."""
    from fuseid.apps.show import print_json
    from fuseid.core.config_schema import config_schema as schema

    print_json(schema())


def _keys(data: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of a file that are no sections."""
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _keys(value, (*above, name))
        else:
            yield (*above, name)


def _at(config: Any, key: tuple[str, ...]) -> Any:
    """None where a section is not there."""
    for name in key:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _text(value: Any) -> str:
    return "" if value is None else str(value)
