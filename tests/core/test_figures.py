"""Names of figures: those of the measures, with the level or the slice that they need."""

from __future__ import annotations

import re

import pytest

from fuseid.core.figures import FIGURES, OF_SLICES, Figure, figure_named
from fuseid.tokenizers.measures import DEFINITIONS, definition


def test_the_figures_are_the_measures_with_what_their_level_counts():
    assert {definition(name).name for name in FIGURES} == set(DEFINITIONS)
    assert {name: definition(name).by for name in FIGURES} == FIGURES
    assert set(OF_SLICES) - {"shares_id"} <= set(FIGURES)


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("collision_b", Figure("collision_b")),
        ("churn 2", Figure("churn", 2)),
        ("recall@10 of kind = video", Figure("recall@10", None, "kind", "video")),
        ("r2 3 of main style = oil = blue", Figure("r2", 3, "main style", "oil = blue")),
        ("  churn  1  of  popularity=head ", Figure("churn", 1, "popularity", "head")),
        ("shares_id of kind = text", Figure("shares_id", None, "kind", "text")),
    ],
)
def test_a_figure_is_named_as_it_is_shown(text, figure):
    assert figure_named(text) == figure
    assert figure_named(str(figure)) == figure


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("churm 1", "no report has a figure 'churm'; did you mean churn or"),
        ("recall@20", "did you mean recall@10"),
        ("shares_id", "no report has a figure 'shares_id'"),
        ("churn", "say of which depth, such as `churn 1`"),
        ("utilisation", "say of which level"),
        ("churn 0", "named like `churn 1`"),
        ("collision_b 1", "collision_b is of whole IDs: it has no 1"),
        ("churn 1 of kind", "named like"),
        ("recall@100 of kind = video", "no slice has a figure 'recall@100'; did you mean recall@10?"),
        ("", "named like"),
    ],
)
def test_what_is_no_figure_is_said_in_words(text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        figure_named(text)
