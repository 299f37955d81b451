"""The command that finds content: lookup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fuseid.apps.filter_options import Attributes, Facets, Has, Kinds, Since, Tags, Until
from fuseid.apps.options import Clip, ConfigFile, Db, Json, Timeout, load

if TYPE_CHECKING:
    import pyarrow as pa


def lookup(
    db: Db,
    text: Annotated[list[str] | None, typer.Option(help='words; "..." is a phrase')] = None,
    image: Annotated[list[Path] | None, typer.Option(help="picture file")] = None,
    video: Annotated[list[Path] | None, typer.Option(help="video file")] = None,
    like: Annotated[list[str] | None, typer.Option(help="content_id of an item: find similar items")] = None,
    not_like: Annotated[list[str] | None, typer.Option(help="content_id of an item that results are unlike")] = None,
    sid: Annotated[str | None, typer.Option(help="semantic ID or prefix, e.g. 12-240")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="weight of a part of the query, e.g. like=0.5; default: 1")
    ] = None,
    space: Annotated[str | None, typer.Option(help="where to compare: clip, fused or the name of a modality")] = None,
    diverse: Annotated[
        str | None, typer.Option(help="N or N:DEPTH: at most N results whose IDs begin with the same DEPTH codes")
    ] = None,
    children: Annotated[
        bool, typer.Option("--children", help="the prefixes one code longer than --sid, or the first codes")
    ] = False,
    k: Annotated[int | None, typer.Option("-k", help="results at most; default: 10, of --children 1,000")] = None,
    after: Annotated[str | None, typer.Option(help="cursor of the page before, with --sid or --children")] = None,
    at: Annotated[str | None, typer.Option(help="export tag, version or time; default: the newest version")] = None,
    kind: Kinds = None,
    tag: Tags = None,
    attr: Attributes = None,
    since: Since = None,
    until: Until = None,
    has: Has = None,
    facet: Facets = None,
    where: Annotated[str | None, typer.Option(help="SQL condition, e.g. \"kind = 'video'\"")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help='queries in JSONL, one a line: {"text": "words", "k": 5}; with --out')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="new .parquet file for the results of --from")] = None,
    timeout: Timeout = None,
    config: ConfigFile = None,
    clip: Clip = None,
    json: Json = False,
) -> None:
    """Find content by words, pictures, videos, items, or several of them at once; or by ID prefix."""
    from fuseid.apps.show import out as console
    from fuseid.apps.show import print_json, print_rows
    from fuseid.core.errors import BadInput
    from fuseid.core.surface import option
    from fuseid.pipelines.lookup import Catalog
    from fuseid.pipelines.search.filter_text import typed

    given: dict[str, Any] = {"text": text, "image": image, "video": video, "like": like, "not_like": not_like}
    is_configured = config is not None or clip is not None or Path("fuseid.yaml").is_file()
    catalog = Catalog.open(db, load(config, clip__model=clip) if is_configured else None, at)
    chosen = typed(kind or (), tag or (), attr or (), since, until, has or ())
    weights = _weights(weight)
    ranking = {**given, "weight": weights, "space": space, "diverse": diverse}
    columns: tuple[str, ...] = ("score", "content_id", "kind", "sid", "caption")
    if from_ is not None or out is not None:
        from fuseid.apps.lookup_bulk import lookup_from

        query = {**given, "sid": sid, "facet": facet, "after": after, "children": children or None}
        common = {
            "weights": weights, "space": space, "diverse": diverse, "k": 10 if k is None else k,
            "filter": chosen, "where": where, "timeout": timeout,
        }  # fmt: skip
        lookup_from(catalog, from_, out, query, common, json)
        return
    if facet:
        from fuseid.apps.facet_text import print_facets

        if named := _given({**ranking, "after": after, "children": children or None}):
            raise BadInput(f"{option('facet')} counts items of a filter or prefix; leave out {', '.join(named)}")
        most = {} if k is None else {"k": k}
        counted = catalog.facets(facet, filter=chosen, where=where, sid=sid, timeout=timeout, **most)
        print_json({name: one.as_json() for name, one in counted.items()}) if json else print_facets(counted)
        return
    if children:
        if named := _given({**ranking, "where": where, "timeout": timeout}):
            raise BadInput(f"--children goes with {option('sid')}; leave out {', '.join(named)}")
        if chosen:
            raise BadInput("--children counts all items below a prefix; leave out the filter, or use --facet sid")
        found = catalog.children(sid, after=after, **({} if k is None else {"k": k}))
        columns = ("prefix", "items", "examples")
    else:
        found = catalog.search(
            **given, sid=sid, weights=weights, space=space, diverse=diverse, k=10 if k is None else k,
            filter=chosen, where=where, timeout=timeout, after=after,
        )  # fmt: skip
    rows, following = _rows(found)
    if json:
        print_json(rows)
        return
    print_rows([{**row, "examples": ", ".join(row.get("examples", ()))} for row in rows], columns)
    if following:
        console.print(f"\nthe next page: --after {following}", markup=False, soft_wrap=True)


def _given(options: dict[str, Any]) -> list[str]:
    """Those that were typed, as they are written."""
    from fuseid.core.surface import option

    return [option(name) for name, value in options.items() if value is not None and value != {}]


def _weights(given: list[str] | None) -> dict[str, str]:
    """NAME=NUMBER each -> by name; the number is checked where it is used. Raises BadInput."""
    from fuseid.core.errors import BadInput
    from fuseid.core.surface import option

    found: dict[str, str] = {}
    for text in given or []:
        name, sign, number = text.partition("=")
        if not sign:
            raise BadInput(f"{option('weight')} takes NAME=NUMBER, such as like=0.5; got {text[:80]!r}")
        if found.setdefault(name, number) != number:
            raise BadInput(f"{option('weight')} gives {name} two weights, {found[name]} and {number[:80]}")
    return found


def _rows(found: pa.Table) -> tuple[list[dict[str, Any]], str | None]:
    """Results as JSON has them, and the cursor of the next page, which the last of them shows."""
    from fuseid.pipelines.store.rows import attributes_of

    metadata = found.schema.metadata
    following = metadata.get(b"fuseid.next")
    rows = [{**row, "version": int(metadata[b"fuseid.version"]), "next": None} for row in found.to_pylist()]
    for row in rows:
        if "attributes" in row:
            row["attributes"] = attributes_of(row["attributes"])
    if following is not None:
        rows[-1]["next"] = following.decode()
    return rows, rows[-1]["next"] if rows else None
