"""The documents about a database are true: every example prints what they show, and every column is described."""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from fuseid.core.modalities import ENCODED, FUSED_COLUMNS
from fuseid.core.schemas import contents_schema
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.metrics import DEFINED
from fuseid.pipelines.store.tables import SCHEMAS, vector_sizes

from .documents import alike, rows_of, shown_and_found

ROOT = Path(__file__).parent.parent
LOOKUP = (ROOT / "docs" / "lookup.md").read_text(encoding="utf-8")


def test_the_example_of_cold_items_prints_what_the_page_shows(fuseid):
    text = (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8")
    section = text[text.index("## Items that the model has never seen") : text.index("## Cost")]
    [(_, shown, found)] = shown_and_found(section, fuseid)
    assert shown == found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the root of the repository, with the files that the examples name."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("red-apple-twemoji.webp", "red-apple-noto.jpg", "banana-twemoji.webp", "bicycle-twemoji.webp",
                 "guitar-noto.webp", "bear-noto.png"):  # fmt: skip
        target = folder / "assets" / "sample" / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / target.relative_to(folder), target)
    (folder / "assets" / "sample" / "videos").mkdir()
    shutil.copy(ROOT / "assets/sample/videos/balloons-rise.mp4", folder / "assets" / "sample" / "videos")
    return folder


@pytest.fixture
def directory(shop: Path) -> Path:
    return shop


def test_the_example_of_a_plan_prints_what_the_page_shows(fuseid):
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    ((_, shown, found),) = shown_and_found(text[text.index("## Plan") : text.index("## Monitor")], fuseid)
    assert alike(shown, found), found


# Look-ups


@pytest.mark.slow
def test_the_examples_of_look_ups_print_what_the_page_shows(fuseid):
    examples = list(shown_and_found(LOOKUP, fuseid))
    assert len(examples) >= 10
    for example, shown, found in examples:
        assert alike(shown, found), f"{example}\n{found}"


@pytest.mark.slow
def test_the_options_find_what_the_page_says(shop, as_json, monkeypatch):
    """On the database of the examples above."""
    monkeypatch.chdir(shop)
    options = LOOKUP[LOOKUP.index("| Options | Finds |") : LOOKUP.index("- **Types.**")]
    rows = [row for row in rows_of(options) if row[0].startswith("`")]
    assert len(rows) >= 15
    for typed, names in rows:
        found = [row["content_id"] for row in as_json("lookup", "--db", "shop", *shlex.split(typed.strip("`")))]
        assert found == [name for name in names.split(", ") if name], typed


@pytest.mark.slow
def test_the_filters_find_what_the_page_says(shop):
    """On the database of the examples above."""
    catalog = Catalog.open(shop / "shop")
    filters = LOOKUP[LOOKUP.index("### Columns") : LOOKUP.index("## Results")]
    rows = [row for row in rows_of(filters) if row[0].startswith("`")]
    assert len(rows) >= 40
    for condition, names in rows:
        found = catalog.search(text="anything", k=100, where=condition.strip("`"))["content_id"].to_pylist()
        assert sorted(found) == [name for name in names.split(", ") if name], condition


# Tables

TABLES_PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
FROZEN = sorted((ROOT / "tests" / "data" / "frozen").glob("*.tar.gz"))


def described() -> dict[str, dict[str, tuple[str, int]]]:
    """What the page says: by table and column its type, with `not null`, and the schema version that has it first."""
    found = {}
    for section in TABLES_PAGE.split("\n## ")[1:]:
        rows = [row for row in rows_of(section) if row[-1].isdigit()]
        found[section.partition("\n")[0]] = {row[0].strip("`"): (row[1].strip("`"), int(row[-1])) for row in rows}
    return found


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """By column its type as the page writes it: the sizes of vectors are D, the names of ready-made ones NAME."""
    own = {modality.name for modality in ENCODED} | {*FUSED_COLUMNS}
    ready = set(vector_sizes(schema)) - own
    columns = {}
    for field in schema:
        text = re.sub(r"(item|element): ", "", str(field.type)).replace("extension<arrow.json>", "json")
        name = field.name
        if pa.types.is_fixed_size_list(field.type):
            text = re.sub(r"\[\d+\]", "[D]", text)
            name = "NAME" if name in ready else name
        elif name.removesuffix("_fp") in ready:
            name = "NAME_fp"
        columns[name] = text if field.nullable else f"{text} not null"
    return columns


def test_every_column_is_described_and_none_that_does_not_exist():
    contents = contents_schema({"clip_image": 2, "clip_text": 2, "vlm": 2, "audio": 2, "fused": 2, "fused_other": 2})
    schemas = {"contents": contents, **SCHEMAS}
    assert {table: {name: text for name, (text, _) in columns.items()} for table, columns in described().items()} == {
        table: columns_of(schema) for table, schema in schemas.items()
    }
    for table, columns in described().items():
        # In the order of the table; a database may have its vector columns in another one.
        assert list(columns) == list(columns_of(schemas[table])), table


@pytest.mark.parametrize("archive", FROZEN, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_databases_of_every_version_have_the_columns_that_the_page_says(archive, tmp_path):
    version = int(archive.name.split("-")[1])
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (folder,) = {path.parent for path in tmp_path.rglob("contents.lance")}
    pages = described()
    assert {path.stem for path in folder.glob("*.lance")} == set(pages)
    for table, columns in pages.items():
        found = columns_of(lance.dataset(str(folder / f"{table}.lance")).schema)
        known = {name: text for name, (text, since) in columns.items() if since <= version}
        assert found.items() <= known.items(), table
        # Vector columns come with the first such vector.
        absent = {name for name in known if name not in found}
        assert not {name for name in absent if "[D]" not in known[name] and name != "NAME_fp"}, table


def test_every_metric_is_described_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text[text.index("## Meters and logs") : text.index("**Alerts.**")]
    described = {name for first, *_ in rows_of(section) for name in re.findall(r"`(fuseid_\w+)`", first)}
    assert described == {*DEFINED}
