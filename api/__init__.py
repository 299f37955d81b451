"""The public surface of fuseid. Each name is loaded when it is first used, so that importing `fuseid.api` costs nothing
and `from fuseid.api import Catalog` needs neither torch nor ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuseid.api.exports import export_ids, export_sequences, neighbours, pairs
    from fuseid.api.jobs import (
        adopt,
        assign,
        compare,
        drop,
        fit,
        gate,
        ingest,
        ingest_vectors,
        maintain,
        plan,
        promote,
        remove,
        rollback,
        upgrade,
    )
    from fuseid.api.tokenizer import open_tokenizer
    from fuseid.core.config import Config
    from fuseid.core.records import SemanticId
    from fuseid.pipelines.lookup import Catalog
    from fuseid.pipelines.metrics import Metric, metrics
    from fuseid.pipelines.plan import IngestPlan
    from fuseid.pipelines.runs import History, RunInfo, runs
    from fuseid.pipelines.search.facets import Facet
    from fuseid.pipelines.search.filters import Filter
    from fuseid.pipelines.tokenizers import TokenizerInfo, tokenizers

__all__ = [
    "Catalog",
    "Config",
    "Facet",
    "Filter",
    "History",
    "IngestPlan",
    "Metric",
    "RunInfo",
    "SemanticId",
    "TokenizerInfo",
    "adopt",
    "assign",
    "compare",
    "drop",
    "export_ids",
    "export_sequences",
    "fit",
    "gate",
    "ingest",
    "ingest_vectors",
    "maintain",
    "metrics",
    "neighbours",
    "open_tokenizer",
    "pairs",
    "plan",
    "promote",
    "remove",
    "rollback",
    "runs",
    "tokenizers",
    "upgrade",
]

_MODULES = {
    "Catalog": "fuseid.pipelines.lookup",
    "Config": "fuseid.core.config",
    "Facet": "fuseid.pipelines.search.facets",
    "Filter": "fuseid.pipelines.search.filters",
    "History": "fuseid.pipelines.runs",
    "IngestPlan": "fuseid.pipelines.plan",
    "Metric": "fuseid.pipelines.metrics",
    "RunInfo": "fuseid.pipelines.runs",
    "SemanticId": "fuseid.core.records",
    "TokenizerInfo": "fuseid.pipelines.tokenizers",
    "adopt": "fuseid.api.jobs",
    "assign": "fuseid.api.jobs",
    "compare": "fuseid.api.jobs",
    "drop": "fuseid.api.jobs",
    "export_ids": "fuseid.api.exports",
    "export_sequences": "fuseid.api.exports",
    "fit": "fuseid.api.jobs",
    "gate": "fuseid.api.jobs",
    "ingest": "fuseid.api.jobs",
    "ingest_vectors": "fuseid.api.jobs",
    "maintain": "fuseid.api.jobs",
    "metrics": "fuseid.pipelines.metrics",
    "neighbours": "fuseid.api.exports",
    "open_tokenizer": "fuseid.api.tokenizer",
    "pairs": "fuseid.api.exports",
    "plan": "fuseid.api.jobs",
    "promote": "fuseid.api.jobs",
    "remove": "fuseid.api.jobs",
    "rollback": "fuseid.api.jobs",
    "runs": "fuseid.pipelines.runs",
    "tokenizers": "fuseid.pipelines.tokenizers",
    "upgrade": "fuseid.api.jobs",
}

# Hidden from type checkers, for which it would make every misspelt name an Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(_MODULES[name]), name)
        except ModuleNotFoundError as error:
            from fuseid.core.installed import left_out

            if refusal := left_out(error):
                raise refusal from None
            raise


def __dir__() -> list[str]:
    return __all__
