"""Writes hostile media, and a table of what must happen to each: `python -m tests.data.make_hostile OUT`."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from .hostile_bytes import ADDRESS, Hostile
from .hostile_names import names
from .hostile_pictures import pictures
from .hostile_references import references
from .hostile_videos import videos


def hostile(port: int = 65535) -> list[Hostile]:
    """The corpus; names are unique. Files that refer to elsewhere name `port` of this machine."""
    address = ADDRESS.replace(b"65535", b"%05d" % port)  # of the same length, for lengths stand in the files
    return [item if callable(item.make) else replace(item, make=item.make.replace(ADDRESS, address)) for item in _all()]


@cache
def _all() -> list[Hostile]:
    folders = {"pictures": pictures(), "videos": [*videos(), *references()], "names": names()}
    return [replace(item, name=f"{folder}/{item.name}") for folder, items in folders.items() for item in items]


def make(folder: Path, port: int = 65535) -> list[Hostile]:
    """Writes the corpus below `folder` and `expected.json` beside its folders."""
    items = hostile(port)
    for item in items:
        item.write(folder)
    table = [{"name": item.name, "what": item.what, "expected": list(item.expected)} for item in items]
    (folder / "expected.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--port", type=int, default=65535, help="of this machine, named by what refers to elsewhere")
    options = parser.parse_args()
    items = make(options.out, options.port)
    print(f"{len(items)} files in {options.out}, what must happen to each in {options.out / 'expected.json'}")


if __name__ == "__main__":
    main()
