"""Options that choose items by what is known of them."""

from __future__ import annotations

from typing import Annotated

import typer

Kinds = Annotated[list[str] | None, typer.Option("--kind", help="only image, video or text; repeated: any of them")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="only items with this tag; repeated: with all of them")]
Attributes = Annotated[
    list[str] | None,
    typer.Option("--attr", help="only items whose attribute is so, e.g. style=noto or 'views>=1000'; may be repeated"),
]
Since = Annotated[
    str | None,
    typer.Option("--since", help="only items written on this date or later, or [NAME=]DATE: by an attribute"),
]
Until = Annotated[
    str | None, typer.Option("--until", help="only items written until the end of this date, or [NAME=]DATE")
]
Has = Annotated[
    list[str] | None,
    typer.Option("--has", help="only items with, e.g., caption, picture or attr:NAME; may be repeated"),
]
Facets = Annotated[
    list[str] | None,
    typer.Option("--facet", help="count values instead: kind, tag, sid or attr:NAME; may be repeated"),
]
