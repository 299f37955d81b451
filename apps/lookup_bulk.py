"""The form of the command lookup that answers the queries of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.surface import option
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.lookup_file import lookup_file


def lookup_from(
    catalog: Catalog,
    from_: Path | None,
    out: Path | None,
    query: Mapping[str, Any],
    common: Mapping[str, Any],
    json: bool,
) -> None:
    """query: the options that make a query, which may not be given. common: those that hold for all lines.

    Raises BadInput if one of the files is not named; NotReady, once the results are written, if no query found
    anything.
    """
    from fuseid.apps.show import Bars, print_facts, print_json

    if from_ is None or out is None:
        raise BadInput(f"{option('from_')} names queries and {option('out')} a new .parquet file; give both")
    if named := [option(name) for name, value in query.items() if value not in (None, [], ())]:
        raise BadInput(f"each line of {option('from_')} is a query of its own; leave out {', '.join(named)}")
    with Bars(quiet=json) as bars:
        summary = lookup_file(catalog, from_, out, common, bars)
    counts = {name: number for name, number in summary.items() if name != "version"}
    print_json(summary) if json else print_facts(counts, title=f"written to {out}")
    if summary["queries"] and summary["errors"] == summary["queries"]:
        raise NotReady(f"not one of {summary['queries']:,} queries found an item; the column error of {out} says why")
