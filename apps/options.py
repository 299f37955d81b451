"""Options that several commands have, and the configuration that is made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from fuseid.apps.start_up import import_pyarrow

# Former names of options, which still work and which the help does not list; by command and by name of the option.
FORMER_NAMES = {
    ("ingest", "name"): "--as",
    ("lookup", "like"): "--id",
    ("remove", "ids"): "--from",
}


class Command(TyperCommand):
    """A command whose options also have their former names."""

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)
        for param in self.get_params(ctx):
            if isinstance(param, TyperOption) and (former := FORMER_NAMES.get((self.name or "", param.name or ""))):
                parser.add_option(param, [former], param.name, action="append" if param.multiple else "store")
        return parser


# The database of the running command.
database = ""


def _note(value: str) -> str:
    global database
    database = value
    import_pyarrow()
    return value


Db = Annotated[
    str,
    typer.Option("--db", envvar="FUSEID_DB", callback=_note, help="database: a directory or an object-store URI"),
]
OptionalDb = Annotated[
    str | None,
    typer.Option(
        "--db", envvar="FUSEID_DB", callback=lambda value: value and _note(value),
        help="database whose items alone count, and whose captions are shown",
    ),
]  # fmt: skip
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", envvar="FUSEID_CONFIG", help="fuseid.yaml; default: the one in this folder, if any"),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="seconds until a query with a condition is ended; default: lookup.timeout_seconds"),
]
Clip = Annotated[str | None, typer.Option("--clip", help="CLIP model; overrides clip.model")]
Vlm = Annotated[str | None, typer.Option("--vlm", help="VLM; overrides vlm.model; `none` switches it off")]


def load(path: Path | None, **overrides: Any) -> Any:
    """The configuration. overrides: values by key, `clip__model` for clip.model; None keeps the value of the file."""
    from fuseid.core.config import load_config

    if path is None and Path("fuseid.yaml").is_file():
        path = Path("fuseid.yaml")
    return load_config(path, {name.replace("__", "."): value for name, value in overrides.items()})
