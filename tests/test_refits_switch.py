"""The sections of docs/refits.md about switches and generations: their commands run as they are printed."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.tokenizers import tokenizers

from .documents import shown_and_found
from .pipelines.evaluation.catalogue import database

PAGE = (Path(__file__).parent.parent / "docs" / "refits.md").read_text(encoding="utf-8")
SHOWN = ["content_id", "fused", "codes", "sid", "tokenizer_id"]


def shown(db: Path) -> dict[str, tuple[object, ...]]:
    rows = Store.open(db).dataset("contents").to_table(columns=SHOWN).to_pylist()
    return {row["content_id"]: tuple(map(str, row.values())) for row in rows}


def candidate(db: Path, generation: int) -> str:
    (found,) = [each.id for each in tokenizers(db) if each.role == "candidate" and each.generation == generation]
    return found


def test_the_commands_of_the_page_run_and_a_rollback_shows_what_was_there(fuseid, tmp_path):
    db = Path(database(tmp_path, 0))
    assert db == tmp_path / "db"
    fit(str(db), Config.model_validate({"tokenizer": {"codebook_sizes": [4, 4], "seed": 5}}))
    before, champion = shown(db), Store.open(db).setting("champion")
    first = PAGE[PAGE.index("## Switch and roll back") : PAGE.index("## A new fusion")]
    assert list(shown_and_found(first.replace("NEW", candidate(db, 1)), fuseid)) == []
    assert (shown(db), Store.open(db).setting("champion")) == (before, champion)

    second = PAGE[PAGE.index("## A new fusion") : PAGE.index("## Old and new together")]
    made, switched = second.split("Two generations at most exist")[0].split("This makes the next")
    assert list(shown_and_found(made, fuseid)) == []
    assert shown(db) == before
    following = candidate(db, 2)
    assert list(shown_and_found(switched.replace("NEXT", following), fuseid)) == []
    store = Store.open(db)
    assert store.setting("champion") == following
    assert set(store.setting("generations")) == {"2"}
    assert {row[-1] for row in shown(db).values()} == {following}
