"""The demo: all steps on the bundled sample and models, each shown with its command."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.text import Text

from fuseid.api.runners import runner_named
from fuseid.apps.page import write_page
from fuseid.apps.report_page import write_report_page
from fuseid.apps.report_text import print_findings
from fuseid.apps.show import Bars, out, print_rows, print_run
from fuseid.core.config import load_config
from fuseid.core.errors import BadInput
from fuseid.core.surface import command, option
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.sources.open import open_source

_MARK = ".fuseid-demo"
_COLUMNS = ("score", "content_id", "kind", "sid", "caption")


def sample_directory() -> Path:
    """The bundled sample: `manifest.jsonl` and its media."""
    spec = find_spec("fuseid.sample")
    # In an editable install one of the locations is a placeholder.
    found = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    return next(place for place in found if (place / "manifest.jsonl").is_file())


def run_demo(directory: Path, runner_name: str) -> None:
    """Writes `db`, `ids`, `semantic-ids.html` and `report.html` into `directory`, where it deletes an earlier demo.

    Raises BadInput for a folder that was not made by the demo, and for an unknown runner; then nothing is deleted.
    """
    if directory.exists() and not (directory / _MARK).exists():
        raise BadInput(f"{directory} exists and was not made by the demo; choose another {option('out')}")
    runner = _runner(runner_name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / _MARK).touch()
    sample = sample_directory()
    config_path = Path(__file__).with_name("demo.yaml")
    manifest, db = sample / "manifest.jsonl", str(directory / "db")
    config = load_config(config_path)

    ingesting = command("ingest", db, manifest, config=config_path)
    _say(ingesting, "decode and encode pictures, videos and captions")
    with Bars() as bars:
        run = ingest(db, open_source(manifest), config, runner, bars)
    print_run(run, as_json=False)

    _say(ingesting, "again: nothing changed, so nothing is decoded or encoded")
    again = ingest(db, open_source(manifest), config, runner)
    print_rows([again.counts], ("listed", "unchanged", "planned", "committed"))

    _say(command("fit", db, config=config_path), "learn fusion and tokenizer; every item gets its semantic ID")
    with Bars() as bars:
        print_run(fit(db, config, bars), as_json=False)

    catalog = Catalog.open(db)
    searches = []
    for text in ("a red apple", "riding a bicycle"):
        _say(command("lookup", db, text=text), "words find pictures, videos and captions")
        searches.append(_show(command("lookup", db, text=text), catalog.search(text=text, k=8)))
    picture = _a_picture(catalog, searches[0]["ids"])
    _say(
        command("lookup", db, image=picture),
        "a picture finds similar items",
    )
    searches.append(_show(command("lookup", db, image=picture), catalog.search(image=picture, k=8)))
    prefix = str(catalog.items(searches[0]["ids"][:1])[0]["sid"]).split("-")[0]
    _say(command("lookup", db, sid=prefix), "all items with the first code of the first hit")
    searches.append(_show(command("lookup", db, sid=prefix), catalog.search(sid=prefix, k=8)))

    _say(command("export ids", db, out=directory / "ids"), "IDs for a trainer, from one pinned version")
    exported = export_ids(db, directory / "ids")
    out.print(Text(f"{exported['items']} items in {', '.join(exported['files'])}"))

    page = directory / "semantic-ids.html"
    shown = write_page(
        db, page, "fuseid demo: semantic IDs", "The bundled sample, encoded by the bundled models.", searches
    )
    quality = directory / "report.html"
    _say(command("report", db, by="style", page=quality), "how good the IDs are")
    document = report(db, attributes=["style"])
    write_report_page(document, quality)
    print_findings(document)

    out.print()
    out.print(Text(f"{shown} items by ID prefix: open {page}", style="bold"))
    out.print(Text(f"how good the IDs are: open {quality}", style="bold"))


def _runner(name: str) -> Runner:
    runner = runner_named(name)
    if name == "ray":
        from fuseid.ray_jobs.runner import connect

        with out.status("starting Ray on this machine"):
            connect()
    return runner


def _say(shown: str, why: str) -> None:
    out.print()
    out.print(Text(f"# {why}", style="dim"))
    out.print(Text(f"$ {shown.strip('`')}", style="bold"), soft_wrap=True)


def _show(shown: str, table: Any) -> dict[str, Any]:
    rows = table.to_pylist()
    print_rows(rows, _COLUMNS)
    return {"command": shown.strip("`"), "ids": [row["content_id"] for row in rows]}


def _a_picture(catalog: Catalog, ids: list[str]) -> Path:
    """The file of the first image among `ids`, else of any image."""
    rows = [row for row in catalog.items(ids) if row["kind"] == "image"]
    by_id = {row["content_id"]: row for row in rows}
    first = next((by_id[i] for i in ids if i in by_id), None)
    if first is None:
        first = catalog.search(text="picture", k=1, where="kind = 'image'", columns=("content_id", "uri")).to_pylist()[
            0
        ]
    return sample_directory() / first["uri"]
