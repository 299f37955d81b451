"""`fuseid config`: a file is checked and its keys are listed; the schema is that of what is accepted."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

FILE = """
tokenizer:
  kind: rq-vae
  codebook_sizes: [64, 64]
fusion:
  weights: {clip_image: 2}
gate:
  limits:
    churn 1: {at_most: 20%}
"""


def test_the_keys_of_a_file_are_listed_beside_their_defaults(as_json, as_text, directory: Path):
    (directory / "fuseid.yaml").write_text(FILE)
    found = {row["key"]: (row["value"], row["default"]) for row in as_json("config", "check")["keys"]}
    assert found == {
        "tokenizer.kind": ("rq-vae", "rq-kmeans"), "tokenizer.codebook_sizes": ([64, 64], [256, 256, 256]),
        "fusion.weights.clip_image": (2.0, None), "gate.limits.churn 1.at_most": (0.2, None),
    }  # fmt: skip
    text = as_text("config", "check", "fuseid.yaml")
    assert all(str(part) in text for row in found.items() for part in (row[0], row[1][0]))


def test_a_file_without_keys_is_all_defaults(as_json, directory: Path):
    (directory / "empty.yaml").write_text("")
    assert as_json("config", "check", "empty.yaml") == {"config": "empty.yaml", "keys": []}


@pytest.mark.parametrize(
    ("text", "words"),
    [("clip: {modle: x}", "line 1: clip.modle is no key (did you mean model?)"), (None, "cannot read")],
)
def test_a_wrong_file_is_refused_as_a_job_refuses_it(refused, directory: Path, text, words):
    if text is not None:
        (directory / "wrong.yaml").write_text(text)
    assert words in refused("config", "check", "wrong.yaml")


def test_the_schema_that_is_written_accepts_the_file(as_text):
    schema = json.loads(as_text("config", "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(FILE), schema)
