"""What the tests of kills and of late writers start from: databases of undisturbed runs, made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuseid.pipelines.store.store import Store

from .exactly_once import CANDIDATE, Before, Catalogue, Drivers, State


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    with Drivers() as drivers:
        yield drivers


@pytest.fixture(scope="session")
def jobs(drivers: Drivers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Before]:
    """Undisturbed runs of all jobs, once per session."""
    root = tmp_path_factory.mktemp("quiet")

    def copy(name: str, new: str) -> Path:
        return Path(shutil.copytree(root / name, root / new))

    (root / "media").mkdir()
    catalogue = Catalogue(root / "media", seed=1)
    for kind, count in (("caption", 22), ("picture", 18), ("video", 3), ("broken", 3)):
        catalogue.add(kind, count)
    first, listed = catalogue.manifest(), set(catalogue.rows)

    def named(kind: str) -> list[str]:
        return sorted(name for name in listed if f"-{kind}-" in name)

    drivers.finish("ingest", root / "ingested", manifest=first)
    copy("ingested", "fitted")
    drivers.finish("fit", root / "fitted")
    copy("fitted", "candidate")
    drivers.finish("fit", root / "candidate", settings=CANDIDATE)
    copy("candidate", "promoted")
    champion = Store.open(root / "fitted").setting("champion")
    tokenizers = {path.name for path in (root / "candidate" / "artifacts").glob("rq-kmeans-*")}
    promotion = {"tokenizer": (tokenizers - {champion}).pop()}
    drivers.finish("promote", root / "promoted", **promotion)

    # Five in `contents`, one in `rejected`, one twice, one unknown.
    some = [name for kind, count in (("caption", 3), ("picture", 2), ("broken", 1)) for name in named(kind)[:count]]
    removal = {"ids": [*some, "nobody", some[0]]}
    copy("fitted", "removed")
    drivers.finish("remove", root / "removed", **removal)

    shutil.copytree(root / "media", root / "media2")
    catalogue.folder = root / "media2"
    catalogue.add("caption", 9)
    catalogue.add("picture", 5)
    catalogue.add("video")
    catalogue.edit(captions=3, pictures=2, repair=1, spoil=2)
    catalogue.remove("picture", 2)
    catalogue.remove("broken", 1)
    catalogue.withdraw("caption", 3)
    catalogue.withdraw("broken", 1)
    second = {"manifest": catalogue.manifest()}
    copy("fitted", "updated")
    drivers.finish("ingest", root / "updated", **second)
    made = {name: State.of(root / name) for name in ("ingested", "fitted", "promoted", "removed", "updated")}
    return {
        "first ingest": Before(None, "ingest", {"manifest": first}, made["ingested"], listed),
        "fit": Before(root / "ingested", "fit", {}, made["fitted"], listed),
        "promote": Before(root / "candidate", "promote", promotion, made["promoted"], listed),
        "remove": Before(root / "fitted", "remove", removal, made["removed"], listed - set(some)),
        "ingest": Before(root / "fitted", "ingest", second, made["updated"], set(catalogue.rows)),
    }


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "db"
