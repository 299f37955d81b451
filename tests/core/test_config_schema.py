"""The JSON Schema of the configuration accepts what `load_config` accepts, and refuses what is wrong in one key."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from fuseid.core.config import FUSION_SECTIONS, TOKENIZER_SECTIONS, Config, Section, load_config
from fuseid.core.config_schema import config_schema
from fuseid.core.errors import ConfigError

SCHEMA = jsonschema.Draft202012Validator(config_schema())
GOOD: list[Any] = [
    {},
    {"clip": None, "vlm": {"model": None}},
    {"run": {"max_rejected": 5, "max_prune": "2.5%"}, "decode": {"sampling": {"method": "fps"}}},
    {"gate": {"limits": {"churn 1": {"at_most": "20%"}, "collision_b": {"at_least": -0.1, "end": "middle"}}}},
    {"fusion": {"weights": "auto"}},
    {"fusion": {"kind": "learned", "hidden": 3, "weights": {"clip_image": 0}}},
    {"tokenizer": {"codebook_sizes": [8, 8], "sample": "all"}},
    {"tokenizer": {"kind": "rq-vae", "estimator": "ste"}},
    {"tokenizer": {"kind": "rq-kmeans", "last": "fsq", "fsq_levels": [8, 8, 4], "codebook_sizes": [8, 256]}},
]
BAD: list[Any] = [
    {"clip": {"modle": "x"}},
    {"klip": {}},
    {"clip": {"precision": "fp8"}},
    {"run": {"wave_rows": 0}},
    {"run": {"max_rejected": "five"}},
    {"lookup": {"recall": 1.5}},
    {"gate": {"limits": {}}},
    {"gate": {"limits": {"churn 1": {"at_most": "a fifth"}}}},
    {"fusion": {"hidden": 3}},
    {"fusion": {"kind": "linear", "hidden": 3}},
    {"tokenizer": {"kind": "rq-vea"}},
    {"tokenizer": {"kind": "fsq", "beam": 3}},
    {"tokenizer": {"codebook_sizes": []}},
]


def kinds() -> list[Any]:
    sections = {"fusion": FUSION_SECTIONS, "tokenizer": TOKENIZER_SECTIONS}
    return [
        Config.model_validate({name: {"kind": kind}}).model_dump(mode="json")
        for name, of_kind in sections.items()
        for kind in of_kind
    ]


@pytest.mark.parametrize("document", [*GOOD, *kinds()], ids=lambda document: str(document)[:40])
def test_what_is_accepted_fits_the_schema(tmp_path, document):
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(document))
    load_config(tmp_path / "good.yaml")
    SCHEMA.validate(document)


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_is_wrong_in_one_key_does_not_fit(tmp_path, document):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError):
        load_config(tmp_path / "bad.yaml")
    assert not SCHEMA.is_valid(document)


def test_every_key_is_there_with_its_description_and_default():
    definitions = config_schema()["$defs"]

    def check(section: type[Section], name: str) -> None:
        found = definitions[name]["properties"]
        assert list(found) == list(section.model_fields)
        for key, field in section.model_fields.items():
            if key != "kind":
                assert found[key].get("description", "") == (field.description or "")

    for base, sections in (("FusionConfig", FUSION_SECTIONS), ("TokenizerConfig", TOKENIZER_SECTIONS)):
        for kind, section in sections.items():
            check(section, f"{base}.{kind}")
