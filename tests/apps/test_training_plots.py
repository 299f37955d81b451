"""How the fit of a tokenizer went, by epoch."""

from __future__ import annotations

from typing import Any

from fuseid.apps.training_plots import training_plots


def column(epochs: int) -> dict[str, Any]:
    history = [
        {"epoch": n, "r2": 0.4 + n / 100, "entropy": [0.99, 0.5], "dead": [0, 7], "residual": [0.8, 0.6]}
        for n in range(epochs + 1)
    ]
    return {"codebook_sizes": [8, 8], "history": history if epochs else [], "fit": {"best_epoch": epochs}}


def test_without_epochs_there_is_nothing_to_draw():
    assert list(training_plots([column(0)], ["here"])) == []


def test_the_held_out_r2_and_each_level_are_drawn_with_their_figures():
    first, levels = training_plots([column(3)], ["here"])
    assert first["legend"] == [("s1", "R²")]
    assert "epoch 3 was kept" in first["note"]
    assert [f"epoch {n}: R² {0.4 + n / 100:.4f}" in first["drawn"] for n in range(4)] == [True] * 4
    assert levels["legend"] == [
        ("s1", "entropy 1"), ("s2", "entropy 2"), ("s1 second", "left 1"), ("s2 second", "left 2"),
    ]  # fmt: skip
    assert levels["drawn"].count("epoch 2, level 2: entropy 50.0%, 7 dead codes, 60.0% left") == 2


def fused(column: dict[str, Any], name: str) -> dict[str, Any]:
    history = [
        {"epoch": n, "loss": None, "hit@10": n / 10, "content_kept": 1 - n / 10, "temperature": 0.07} for n in range(3)
    ]
    return {**column, "fusion": {"id": name, "history": history, "best_epoch": 2, "held_out_pairs": 1234}}


def test_a_learned_fusion_is_drawn_once_before_the_tokenizers_on_it():
    first, second, *_ = training_plots([fused(column(2), "fusion-1"), fused(column(2), "fusion-1")], ["one", "two"])
    assert (first["title"], second["title"]) == ("What the fusion learned", "How the fit went")
    assert first["legend"] == [("s1", "partners"), ("s2", "content neighbours")]
    assert "1,234 held-out pairs" in first["note"]
    assert "epoch 2 was kept" in first["note"]
    assert "epoch 1: 10.0% of partners" in first["drawn"]
    assert "epoch 2: 80.0% of content neighbours" in first["drawn"]


def test_two_learned_fusions_are_drawn_apart():
    titles = [plot["title"] for plot in training_plots([fused(column(0), "a"), fused(column(0), "b")], ["one", "two"])]
    assert titles == ["What the fusion learned, a", "What the fusion learned, b"]


def test_each_of_two_trained_tokenizers_has_its_own_levels():
    titles = [plot["title"] for plot in training_plots([column(2), column(30)], ["one", "two"])]
    assert titles == ["How the fit went", "The levels, by epoch, one", "The levels, by epoch, two"]


def test_one_that_was_not_trained_has_no_line():
    first, levels = training_plots([column(0), column(2)], ["one", "two"])
    assert first["legend"] == [("s1", "R², two")]
    assert levels["title"] == "The levels, by epoch, two"
