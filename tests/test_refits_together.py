"""The section of docs/refits.md about old and new IDs together: its commands and programs run as they are printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from fuseid.pipelines.fit import fit
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.two_vocabularies import TwoVocabularies

from .documents import shown_and_found
from .pipelines.evaluation.catalogue import ITEMS, database, settings

PAGE = (Path(__file__).parent.parent / "docs" / "refits.md").read_text(encoding="utf-8")
TOGETHER = PAGE[PAGE.index("## Old and new together") : PAGE.index("## Does it help the ranker?")]


@pytest.fixture
def candidate(tmp_path: Path) -> str:
    """The id of a second tokenizer in the database `db`, and beside it a small T5 in `ranker`."""
    uri = database(tmp_path, 0)
    champion = Store.open(uri).setting("champion")
    fit(uri, settings(4, 5))
    torch.manual_seed(0)
    config = T5Config(vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "ranker")
    [name] = set(Store.open(uri).tokenizers()) - {champion}
    return name


def test_the_commands_and_the_programs_of_the_page_run(fuseid, candidate, tmp_path):
    assert list(shown_and_found(TOGETHER.replace("NEW", candidate), fuseid)) == []
    both = TwoVocabularies.load(tmp_path / "both.json")
    assert both.new.tokenizer_id == candidate
    rows = pq.read_table(tmp_path / "both" / "ids-00000.parquet")
    assert len(rows) == ITEMS
    assert both.old.ids(np.array(rows["old_codes"].to_pylist())).max() < len(both.old)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_program_without_fuseid_gives_the_model_of_the_class(fuseid, candidate, tmp_path, monkeypatch, aligned):
    list(shown_and_found(TOGETHER[: TOGETHER.index("```python")].replace("NEW", candidate), fuseid))
    made = TwoVocabularies.load(tmp_path / "both.json")
    both = TwoVocabularies.of(*(made.old, type(made.new)((4, 5), made.new.suffixes, tokenizer_id=candidate)), aligned)
    both.save(tmp_path / "both.json")
    assert (json.loads((tmp_path / "both.json").read_text())["old_of_new"] is not None) == aligned
    program = TOGETHER.split("```python\n")[1].partition("```")[0]
    names: dict[str, object] = {}
    exec(compile(program, "example", "exec"), names)
    wanted = T5ForConditionalGeneration.from_pretrained(tmp_path / "ranker")
    both.enlarge(wanted)
    found = names["model"].state_dict()
    for name, weight in wanted.state_dict().items():
        assert torch.allclose(found[name][: len(both)], weight[: len(both)]), name
