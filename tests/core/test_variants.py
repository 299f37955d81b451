"""Settings of tokenizers in one line: what a part sets, what it takes from the configuration, what is refused."""

from __future__ import annotations

import pytest

from fuseid.core.config import RQKMeansConfig
from fuseid.core.errors import BadInput
from fuseid.core.variants import variants

GIVEN = RQKMeansConfig(codebook_sizes=(16, 8), seed=3, beam=7)


def test_a_part_takes_the_keys_of_the_configuration_and_sets_its_own():
    found = variants(GIVEN, "rq-kmeans, rq-kmeans:beam=2:codebook_sizes=[4,4,4]")
    assert found == {
        "rq-kmeans": GIVEN,
        "rq-kmeans:beam=2:codebook_sizes=[4,4,4]": RQKMeansConfig(codebook_sizes=(4, 4, 4), seed=3, beam=2),
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "must be kinds of tokenizers separated by commas"),
        ("rq-kmeans,", "must be kinds of tokenizers separated by commas"),
        ("rq-kmeans,rq-kmeans", "rq-kmeans is listed twice"),
        ("rq-kmean", "rq-kmean: tokenizer.kind"),
        ("rq-kmeans:beam", "'beam' must be KEY=VALUE"),
        ("rq-kmeans:beam=0", "rq-kmeans:beam=0: tokenizer.beam is 0; it takes a whole number from 1 to 64"),
        ("rq-kmeans:beem=2", "tokenizer.beem is no key (did you mean beam?)"),
        ("rq-kmeans:beam=[", "is no value of beam"),
    ],
)
def test_what_is_wrong_is_one_line(text, line):
    with pytest.raises(BadInput) as caught:
        variants(GIVEN, text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
