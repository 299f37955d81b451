"""The command that finds content: lookup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fuseid.apps.options import Clip, ConfigFile, Db, Json, Timeout, load


def lookup(
    db: Db,
    text: Annotated[str | None, typer.Option(help="words")] = None,
    image: Annotated[Path | None, typer.Option(help="picture file")] = None,
    video: Annotated[Path | None, typer.Option(help="video file")] = None,
    like: Annotated[str | None, typer.Option(help="content_id of an item: find similar items")] = None,
    sid: Annotated[str | None, typer.Option(help="semantic ID or prefix, e.g. 12-240")] = None,
    k: Annotated[int, typer.Option("-k", help="results at most")] = 10,
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
    """Find content by words, picture, video, item or ID prefix."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.pipelines.lookup import Catalog
    from fuseid.pipelines.store.rows import attributes_of

    is_configured = config is not None or clip is not None or Path("fuseid.yaml").is_file()
    catalog = Catalog.open(db, load(config, clip__model=clip) if is_configured else None)
    if from_ is not None or out is not None:
        from fuseid.apps.lookup_bulk import lookup_from

        query = {"text": text, "image": image, "video": video, "like": like, "sid": sid}
        lookup_from(catalog, from_, out, query, {"k": k, "where": where, "timeout": timeout}, json)
        return
    rows = catalog.search(
        text=text, image=image, video=video, like=like, sid=sid, k=k, where=where, timeout=timeout
    ).to_pylist()
    if json:
        print_json([{**row, "attributes": attributes_of(row["attributes"])} for row in rows])
    else:
        print_rows(rows, ("score", "content_id", "kind", "sid", "caption"))
