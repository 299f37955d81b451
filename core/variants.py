"""Settings of several tokenizers in one line: `rq-kmeans,rq-kmeans:last=fsq,rq-vae:epochs=50:latent=128`."""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import ValidationError

from fuseid.core.config import Config, TokenizerConfig, section_of
from fuseid.core.config_problems import problem
from fuseid.core.errors import BadInput

_KEY = "tokenizer"
# Commas and colons inside brackets belong to a list.
_COMMA, _COLON = (re.compile(sign + r"(?![^\[]*\])") for sign in ",:")


def variants(given: TokenizerConfig, text: str) -> dict[str, TokenizerConfig]:
    """The settings of each part of `text`, KIND[:KEY=VALUE...], by the part as it is written.

    given: the configuration's section. The keys that all kinds have come from it, and so do those of its own kind;
    others have their defaults, unless a part sets them. Raises BadInput for an empty text, for the same part twice, and
    for an unknown kind, key or value.
    """
    names = [name.strip() for name in _COMMA.split(text)]
    if "" in names:
        raise BadInput(f"{text!r} must be kinds of tokenizers separated by commas, such as rq-kmeans,fsq")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{twice} is listed twice; name each tokenizer once")
    return {name: _variant(given, name) for name in names}


def _variant(given: TokenizerConfig, name: str) -> TokenizerConfig:
    kind, *parts = _COLON.split(name)
    common = set(TokenizerConfig.model_fields) if kind != given.kind else set(type(given).model_fields)
    values: dict[str, Any] = {key: value for key, value in given.model_dump().items() if key in common}
    values["kind"] = kind
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise BadInput(f"{name}: {part!r} must be KEY=VALUE, such as seed=1")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadInput(f"{name}: {value!r} is no value of {key}; write it as in a fuseid.yaml") from None
    data = {_KEY: values}
    try:
        return Config.model_validate(data).tokenizer
    except ValidationError as error:
        key_path, what = problem(error, Config, data, section_of)
        raise BadInput(f"{name}: {'.'.join(key_path)} {what}") from None
