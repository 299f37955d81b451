"""The section of docs/refits.md about refits: its commands run as they are printed."""

from __future__ import annotations

from pathlib import Path

from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.store.store import Store

from .documents import shown_and_found
from .pipelines.evaluation.catalogue import database

PAGE = (Path(__file__).parent.parent / "docs" / "refits.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run(fuseid, tmp_path):
    champion = Store.open(database(tmp_path, 0)).setting("champion")
    (tmp_path / "fuseid.yaml").write_text("clip: null\ntokenizer: {codebook_sizes: [4, 4], seed: 5}\n")
    section = PAGE[PAGE.index("## Refit") : PAGE.index("## Compare")]
    assert list(shown_and_found(section.replace("OLD", champion), fuseid)) == []
    store = Store.open(tmp_path / "db")
    fitted = [load_tokenizer(store, name).meta.get("aligned_to") for name in store.tokenizers() if name != champion]
    # The first and the last command made the same tokenizer.
    assert sorted(to["tokenizer"] for to in fitted if to) == [champion]
    assert fitted.count(None) == 1
