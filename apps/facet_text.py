"""Facets as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fuseid.apps.show import print_rows

if TYPE_CHECKING:
    from fuseid.pipelines.search.facets import Facet


def print_facets(facets: Mapping[str, Facet]) -> None:
    for name, facet in facets.items():
        exact = not facet.error
        rows = [
            {"value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), "items": items}
            for value, items in facet.values
        ]
        if facet.others:
            rows.append(
                {"value": f"({facet.distinct - len(rows)} others)" if exact else "(others)", "items": facet.others}
            )
        if facet.without:
            rows.append({"value": "(without)", "items": facet.without})
        error = "" if exact else f"; too many values: counts are up to {facet.error:,} too low"
        print_rows(rows, ("value", "items"), title=f"{name}: {facet.items:,} items{error}")
