"""The configuration file: a mistake in it is named in one line."""

from pathlib import Path

import pytest

from fuseid.core.config import Config, load_config
from fuseid.core.errors import ConfigError


def refused(tmp_path: Path, text: str | bytes, overrides: dict | None = None) -> str:
    path = tmp_path / "fuseid.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_missing_or_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "fuseid.yaml").write_text("")
    assert load_config() == load_config(tmp_path / "fuseid.yaml") == Config()


def test_values_of_the_file_and_overrides_that_win(tmp_path):
    path = tmp_path / "fuseid.yaml"
    path.write_text("tokenizer: {codebook_sizes: [8, 4], seed: 3}\nrun: {wave_rows: 7}\nclip: null\n")
    config = load_config(path, {"tokenizer.seed": 5, "run.block_rows": None})
    assert config.tokenizer.codebook_sizes == (8, 4)
    assert (config.tokenizer.seed, config.run.wave_rows, config.run.block_rows) == (5, 7, Config().run.block_rows)
    assert config.clip is None


def test_unknown_key_is_named_beside_the_known_ones(tmp_path):
    message = refused(tmp_path, "run: {wave_row: 7}")
    assert "run.wave_row" in message
    assert "wave_rows" in message
    assert "block_rows" in message


def test_unknown_key_of_a_section_within_a_section(tmp_path):
    message = refused(tmp_path, "decode: {sampling: {frame: 3}}")
    assert "decode.sampling.frame" in message
    assert "known keys here: fps, frames, method" in message


def test_unknown_key_of_a_section_that_may_be_null(tmp_path):
    assert "batch_size, device, model" in refused(tmp_path, "clip: {modle: x}")


def test_unknown_section_is_named_beside_the_known_ones(tmp_path):
    message = refused(tmp_path, "tokeniser: {seed: 1}")
    assert "tokeniser" in message
    assert "clip, decode, fusion, lookup, run, source, tokenizer, vlm" in message


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("decode: {workers: two}", "decode.workers"),
        ("decode: 5", "decode"),
        ("run: {wave_rows: 0}", "run.wave_rows"),
        ("run: {wave_rows: 1.5}", "run.wave_rows"),
        ("clip: {precision: int4}", "clip.precision"),
        ("tokenizer: {kind: kmeans}", "tokenizer.kind"),
        ("tokenizer: {codebook_sizes: []}", "tokenizer.codebook_sizes"),
        ("tokenizer: {codebook_sizes: [256, 0]}", "tokenizer.codebook_sizes"),
        ("tokenizer: {codebook_sizes: [-4]}", "tokenizer.codebook_sizes"),
        ("fusion: {weights: {clip-images: 1}}", "fusion.weights.clip-images"),
        ("fusion: {weights: {vlm: heavy}}", "fusion.weights.vlm"),
        ("1: 2", "1"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_key(tmp_path, text, key):
    assert f" {key}" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["run: {wave_rows: [", "a: b: c", "\tx: 1", b"\xff\xfe\x00", "run: !!python/object:os.x {}"]
)
def test_invalid_yaml_is_refused_in_one_line(tmp_path, text):
    assert "cannot read config" in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "42"])
def test_yaml_without_a_mapping_is_refused_in_one_line(tmp_path, text):
    assert "mapping" in refused(tmp_path, text)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read config .*nowhere\.yaml") as caught:
        load_config(tmp_path / "nowhere.yaml")
    assert "\n" not in str(caught.value)


def test_an_override_that_is_unknown_is_refused_like_a_key():
    with pytest.raises(ConfigError, match=r"clip\.modle.*known keys here"):
        load_config(None, {"clip.modle": "x"})


def test_config_cannot_be_changed_after_it_was_read():
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.run.wave_rows = 1
