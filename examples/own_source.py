"""Your own source: a catalogue that lies in a database of yours, here SQLite, without a manifest in between.

    python examples/own_source.py OUT

A source is anything that can be iterated for `SourceItem` and has a `base`. It only lists: the media are opened later,
by the processes that decode them.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fuseid.api import Catalog, ingest
from fuseid.pipelines.sources.item import SourceItem

SAMPLE = Path(__file__).parent.parent / "assets" / "sample" / "images"

PRODUCTS = [
    ("sku-1", "bicycle-noto.png", "A bicycle for the city.", 499),
    ("sku-2", "banjo-noto.jpg", "A banjo with four strings.", 189),
    ("sku-3", "birthday-cake-noto.png", "A birthday cake with candles.", 35),
    ("sku-4", "acoustic-guitar-clipart.gif", "A guitar for beginners.", 120),
    ("sku-5", "broom-noto.jpg", "A broom.", 9),
    ("sku-6", None, "A gift card.", 50),  # a caption alone is an item too
]


class Shop:
    """The table `products` as a source."""

    def __init__(self, database: Path, pictures: Path) -> None:
        self._database = database
        # Relative uris start from here, and nothing outside it is read unless `source.allow` names it.
        self.base = pictures.resolve()

    def __iter__(self) -> Iterator[SourceItem]:
        """Rows are drawn one by one, so a catalogue of any size needs little memory."""
        with closing(sqlite3.connect(self._database)) as shop:
            for sku, picture, title, price in shop.execute("SELECT sku, picture, title, price FROM products"):
                # The id that you already use: histories and exports name items by it.
                yield SourceItem(sku, uri=picture, caption=title, attributes=json.dumps({"price": price}))


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(out / "shop.sqlite")) as shop:
        shop.execute("CREATE TABLE products (sku TEXT PRIMARY KEY, picture TEXT, title TEXT, price INTEGER)")
        shop.executemany("INSERT INTO products VALUES (?, ?, ?, ?)", PRODUCTS)
        shop.commit()

        source = Shop(out / "shop.sqlite", SAMPLE)
        print("first: ", shown(ingest(out / "db", source).counts))

        # A later ingest lists everything again and works only on what has changed. prune removes what is gone; it needs
        # a source that lists the whole catalogue.
        shop.execute("UPDATE products SET title = 'A broom of birch twigs.' WHERE sku = 'sku-5'")
        shop.execute("DELETE FROM products WHERE sku = 'sku-6'")
        shop.commit()
        print("second:", shown(ingest(out / "db", source, prune=True).counts))

    catalog = Catalog.open(out / "db")
    (best,) = catalog.search(text="a birthday cake", k=1).to_pylist()
    print(f"found:  {best['content_id']}, {best['caption']} {best['attributes']}")


def shown(counts: dict[str, int]) -> str:
    names = ("listed", "unchanged", "committed", "pruned")
    return ", ".join(f"{counts[name]} {name}" for name in names if name in counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
