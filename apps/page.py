"""One self-contained HTML page that groups thumbnails by ID prefix, to show what the codes mean."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fuseid.core.errors import StoreError
from fuseid.pipelines.reports.keywords import telling_words, words_of
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store

_COLUMNS = ("content_id", "kind", "sid", "codes", "caption", "thumbnail")


def write_page(
    uri: str | Path,
    path: Path,
    title: str,
    subtitle: str,
    searches: Sequence[Mapping[str, Any]] = (),
    limit: int = 2000,
) -> int:
    """Writes the page for at most `limit` items; returns how many it shows.

    searches: {"command": text, "ids": content_ids in order} each. Raises StoreError if there are no IDs yet.
    """
    store = Store.open(uri)
    dataset = store.dataset("contents")
    rows = dataset.to_table(columns=list(_COLUMNS), filter="sid IS NOT NULL", limit=limit).to_pylist()
    if not rows:
        raise StoreError(no_ids(uri))
    shown = {row["content_id"]: tile(row) for row in rows}
    wanted = [i for search in searches for i in search["ids"] if i not in shown]
    shown_more = {row["content_id"]: tile(row) for row in rows_by_id(dataset, wanted, _COLUMNS)}
    kinds = Counter(row["kind"] for row in rows)
    facts = [(f"{kind}s" if count != 1 else kind, count) for kind, count in sorted(kinds.items())]
    facts += [
        ("distinct IDs without suffix", len({tuple(row["codes"]) for row in rows})),
        ("first-level codes used", len({row["codes"][0] for row in rows})),
    ]
    page = render(
        "prefixes.html.j2",
        title=title,
        subtitle=subtitle,
        facts=facts,
        searches=[
            {
                "command": s["command"],
                "rows": [(shown | shown_more)[i] for i in s["ids"] if i in shown or i in shown_more],
            }
            for s in searches
        ],
        groups=_groups(rows, shown),
    )
    path.write_text(page, encoding="utf-8")
    return len(rows)


def render(template: str, **values: Any) -> str:
    """Renders one of the templates beside this module; values are escaped."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)


def tile(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `contents` as the template's tile."""
    thumbnail = row["thumbnail"]
    source = picture_source(thumbnail) if thumbnail else None
    return {**{name: row[name] for name in ("content_id", "kind", "sid", "caption")}, "thumbnail": source}


def picture_source(encoded: bytes) -> str:
    """WebP or JPEG bytes as a data URI."""
    kind = "webp" if encoded[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _groups(rows: Sequence[Mapping[str, Any]], tiles: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    by_first: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_first[row["codes"][0]].append(row)
    everywhere = Counter(word for row in rows for word in words_of(row["caption"]))
    groups = []
    for first, members in sorted(by_first.items()):
        by_second: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for row in members:
            by_second[row["codes"][1] if len(row["codes"]) > 1 else 0].append(row)
        subs = [
            {
                "code": code,
                "tiles": [
                    tiles[row["content_id"]] for row in sorted(subset, key=lambda r: (r["codes"], r["content_id"]))
                ],
            }
            for code, subset in sorted(by_second.items())
        ]
        words = telling_words((row["caption"] for row in members), everywhere, len(rows))
        groups.append({"code": first, "count": len(members), "rows": subs, "words": ", ".join(words)})
    return groups
