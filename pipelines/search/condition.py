"""The condition of a search: a filter and SQL together, and why it finds nothing."""

from __future__ import annotations

from fuseid.pipelines.search.filter_names import check_attributes, check_columns
from fuseid.pipelines.search.filters import Filter
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.conditions import check_names, check_whole


def condition_of(view: View, filter_: Filter | None, where: str | None) -> str | None:
    """The SQL condition that both are fulfilled. Raises BadInput for something that items may not have,
    and for SQL with something behind its end."""
    if where is not None:
        check_whole(view.contents, where)
    if filter_ is None:
        return where
    check_columns(view.contents, filter_)
    # A comment may end `where`.
    return filter_.sql() if where is None else f"({where}\n) AND {filter_.sql()}"


def explain_nothing(view: View, filter_: Filter | None, where: str | None) -> None:
    """To be called where no item fulfils the condition. Raises BadInput for a name or a value that no item has."""
    if filter_ is not None:
        check_attributes(view.contents, filter_)
    if where is not None:
        check_names(view.contents, where)
