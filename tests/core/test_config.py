"""The configuration file: a mistake in it is named in one line."""

from pathlib import Path

import pytest

from fuseid.core.config import FUSION_SECTIONS, TOKENIZER_SECTIONS, ClipConfig, Config, load_config, read_stored
from fuseid.core.config_problems import takes
from fuseid.core.errors import ConfigError
from fuseid.core.surface import shell


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
    assert "known keys of decode.sampling: fps, frames, method" in message


def test_unknown_key_of_a_section_that_may_be_null(tmp_path):
    assert "batch_size, device, model" in refused(tmp_path, "clip: {modle: x}")


def test_unknown_section_is_named_beside_the_known_ones(tmp_path):
    message = refused(tmp_path, "tokeniser: {seed: 1}")
    assert "tokeniser" in message
    assert "clip, decode, fusion, gate, lookup, run, source, tokenizer, vlm" in message


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
        ("fusion: {weights: {clip-images: 1}}", "fusion.weights"),
        ("fusion: {weights: {vlm: heavy}}", "fusion.weights"),
        ("1: 2", "1"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_key(tmp_path, text, key):
    assert f" {key}" in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "42"])
def test_yaml_without_a_mapping_is_refused_in_one_line(tmp_path, text):
    assert "mapping" in refused(tmp_path, text)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read config .*nowhere\.yaml") as caught:
        load_config(tmp_path / "nowhere.yaml")
    assert "\n" not in str(caught.value)


def test_an_override_that_is_unknown_is_refused_like_a_key():
    with pytest.raises(ConfigError, match=r"clip\.modle is no key .did you mean model.*known keys of clip"):
        load_config(None, {"clip.modle": "x"})


# A file, the line that the message names, and what it says.
WRONG = [
    # values
    ("run:\n  wave_rows: 0", 2, "run.wave_rows is 0; it takes a whole number of 1 or more"),
    ("run: {wave_rows: 1.5}", 1, "run.wave_rows is 1.5; it takes a whole number of 1 or more"),
    ("run: {wave_rows: [1]}", 1, "run.wave_rows is [1]; it takes a whole number of 1 or more"),
    ("decode: {sampling: {frames: 300}}", 1, "decode.sampling.frames is 300; it takes a whole number from 1 to 256"),
    ("decode: {timeout_seconds: .nan}", 1, "decode.timeout_seconds is NaN; it takes a number above 0 up to 1e+09"),
    ("decode: {timeout_seconds: .inf}", 1, "decode.timeout_seconds is Infinity; it takes a number above 0"),
    ("decode: {timeout_seconds: 1.0e+99}", 1, "decode.timeout_seconds is 1e+99; it takes a number above 0 up to 1e+09"),
    ("tokenizer: {drift_error: 1}", 1, "tokenizer.drift_error is 1; it takes a number above 1"),
    ("tokenizer: {seed: -1}", 1, "tokenizer.seed is -1; it takes a whole number of 0 or more"),
    ("tokenizer: {seed: 1" + "0" * 30 + "}", 1, "; it takes a whole number of 0 or more up to 9223372036854775807"),
    ("tokenizer: {seed: " + "9" * 5000 + "}", 1, "9999... is no value that can be read; put text in quotes"),
    ("source: {expect_rows: 0}", 1, "source.expect_rows is 0; it takes a whole number of 1 or more, or null"),
    ("source: {private_hosts: maybe}", 1, 'source.private_hosts is "maybe"; it takes true or false'),
    ("source: {allow: x}", 1, 'source.allow is "x"; it takes a list, such as [a, b], each text'),
    ("source: {schemes: [ftp]}", 1, "each s3, gs, https or http"),
    ("tokenizer: {sample: 1}", 1, "it takes a whole number of 2 or more, or all"),
    ("clip: {batch_size: automatic}", 1, "it takes a whole number of 1 or more, or auto (did you mean auto?)"),
    ("clip: {model: 3}", 1, "clip.model is 3; it takes text"),
    ("clip: {model: 2024-13-01}", 1, "2024-13-01 is no value that can be read; put text in quotes"),
    ("clip:\n\n  precision: bf_16", 3, 'clip.precision is "bf_16"; it takes fp32, bf16 or fp16 (did you mean bf16?)'),
    (
        "clip: 5",
        1,
        "clip is 5; it takes a section with the keys model, revision, precision, batch_size, device, or null",
    ),
    ("decode:", 1, "decode is null; it takes a section with the keys sampling, long_side"),
    ("run: {max_prune: 5.5}", 1, "it takes a share of the items like 5%, or a number of them like 100"),
    ("tokenizer: {codebook_sizes: []}", 1, "tokenizer.codebook_sizes is []; it takes a list of at least one, such as"),
    ("tokenizer: {codebook_sizes: '9,9'}", 1, 'is "9,9"; it takes a list of at least one, such as [256, 256], each'),
    ("fusion: {kind: learnt}", 1, "no kind has this name (did you mean learned?); there are linear, learned"),
    ("fusion: {hidden: 5}", 1, "fusion.hidden is 5; this is a key of kind learned, not of linear"),
    ("fusion: {kind: learned, temperature: 0}", 1, "fusion.temperature is 0; it takes"),
    ("tokenizer: {kind: rqkmeans}", 1, "no kind has this name (did you mean rq-kmeans?); there are rq-kmeans"),
    ("tokenizer: {fsq_levels: [4, 2]}", 1, "fsq_levels belong to last: fsq, which is not set"),
    ("tokenizer: {last: fsq, codebook_sizes: [8]}", 1, "so codebook_sizes needs at least two"),
    ("tokenizer: {last: fsq, codebook_sizes: [8, 6]}", 1, "make a power of two, not 6 codes"),
    ("tokenizer: {last: fsq, fsq_levels: [8, 8]}", 1, "levels [8, 8] make 64 codes, but the codebook has 256"),
    (
        "tokenizer: {last: fsq, fsq_levels: [1, 256]}",
        1,
        "tokenizer.fsq_levels is [1, 256]; it takes a list of at least",
    ),
    ("tokenizer: {last: fsq, fsq_levels: [65536, 65536]}", 1, "make 4294967296 codes; at most 2147483647"),
    ("fusion: {weights: {Vlm: 1}}", 1, 'fusion.weights is {"Vlm": 1}; it takes auto, or a section of names of modal'),
    ("fusion: {weights: heavy}", 1, 'fusion.weights is "heavy"; it takes auto, or a section of names of modalities'),
    # keys
    ("model: x", 1, "model is no key (did you mean clip.model?); known keys: clip, decode"),
    ("clip: {}\ntokeniser: {}", 2, "tokeniser is no key (did you mean tokenizer?); known keys: clip"),
    ("decode:\n  sampling:\n    frame: 3", 3, "decode.sampling.frame is no key (did you mean frames?)"),
    ("tokenizer: {bean: 3}", 1, "tokenizer.bean is no key (did you mean beam?); known keys of tokenizer: alternatives"),
    ("clip:\n  model: a\n  model: b", 3, "clip.model is there twice, first in line 2; leave one of them out"),
    ("1: 2", 1, "1 is no key; known keys: clip"),
    ("? [a]\n: 1", 1, "a key is a list or a section; keys are words"),
    # the form of the file
    ("- a\n- b", 1, "a configuration is a mapping of sections, such as `clip:`, not a list"),
    ("0", 1, "not a number"),
    ("model:x", 1, "not text"),
    ("clip:\n\tmodel: a", 2, "a tab begins here; indent with spaces"),
    ("a: b: c", 1, "a second `: ` on one line; put text with a colon in quotes: 'a: b: c'"),
    ("clip:\n  model: a\n bad: 1", 3, "it is indented unlike the lines above: 'bad: 1'"),
    ("run:\n  wave_rows: [\n", 2, "a list or section in brackets is not closed"),
    ("a: [1, 2\nb: 3", 1, "the list that began with [ has no ] or lacks a comma"),
    ("a: {b: 1\nc: 3", 1, "the section that began with { has no } or lacks a comma"),
    ("clip: {}\nvlm: {model: 'x", 2, "the quote that began here is not closed"),
    ('clip: {model: "\\q"}', 1, "a backslash in double quotes; use single quotes"),
    ("clip: &a {model: x}\nvlm: *b", 2, "*b refers to an anchor that is not in the lines above"),
    ("vlm: {model: *}", 1, "* and & begin an anchor; put other text in quotes"),
    ("clip:\n  <<: 5", 2, "<< takes an anchor of a section"),
    ("clip: @x", 1, "a value cannot begin with this character; put it in quotes"),
    ("run: !!python/object:os.x {}", 1, "is not known; write the value without it"),
    ("a: 1\n---\nb: 2", 2, "a second document begins; a configuration is one"),
    ("%YAML 9", 1, "this is not valid YAML: '%YAML 9'"),
    ("clip: {}\n\0", 2, "the character '\\x00' is not allowed in YAML"),
    (b"clip: {}\nvlm: {model: caf\xe9}", 2, "it is not UTF-8: byte 0xe9 at 25; save the file as UTF-8"),
    ("run: {wave_rows: 1}".encode("utf-16"), None, "is in UTF-16; save it as UTF-8"),
]
# Words of pydantic and PyYAML.
FOREIGN = ("Input", "should be", "valid ", "permitted", "while parsing", "while scanning", "mapping values", "pydantic",
           "unicode string", "column", "constrained", "tag:", "<class")  # fmt: skip


@pytest.mark.parametrize(("text", "line", "said"), WRONG)
def test_a_mistake_is_named_in_our_words_with_its_line(tmp_path, text, line, said):
    message = refused(tmp_path, text)
    assert said in message
    where = f"config {tmp_path / 'fuseid.yaml'}"
    assert message.startswith(f"{where}, line {line}: " if line else f"{where} {said}")
    if "tag " not in message:
        assert not [word for word in FOREIGN if word in message and word not in said]


def test_anchors_and_a_mark_of_utf_8_are_understood(tmp_path):
    path = tmp_path / "fuseid.yaml"
    path.write_bytes(b"\xef\xbb\xbfclip: &models {revision: abc}\nvlm:\n  <<: *models\n  frames: 2\n")
    config = load_config(path)
    assert (config.clip.revision, config.vlm.revision, config.vlm.frames) == ("abc", "abc", 2)


@pytest.mark.parametrize(
    ("key", "value", "in_shell", "in_python"),
    [
        ("run.max_prune", "x", '--max-prune is "x"; it takes a share', 'run.max_prune is "x"; it takes a share'),
        ("tokenizer.codebook_sizes", [0], "--codebooks is [0]; it takes", "tokenizer.codebook_sizes is [0]; it takes"),
        ("source.expect_rows", 0, "--expect-rows is 0; it takes", "source.expect_rows is 0; it takes"),
    ],
)
def test_a_value_that_overrides_is_named_as_it_was_given(key, value, in_shell, in_python):
    with pytest.raises(ConfigError) as caught:
        load_config(None, {key: value})
    assert str(caught.value).startswith(in_python)
    with shell(), pytest.raises(ConfigError) as caught:
        load_config(None, {key: value})
    assert str(caught.value).startswith(in_shell)


def test_a_section_of_the_file_is_not_blamed_on_an_override(tmp_path):
    assert "line 1: run is 5; it takes a section" in refused(tmp_path, "run: 5", {"run.max_prune": "9%"})


@pytest.mark.parametrize("section", [Config, *TOKENIZER_SECTIONS.values(), *FUSION_SECTIONS.values()])
def test_what_every_key_takes_can_be_said(section):
    for name, field in section.model_fields.items():
        words = takes(field.annotation, field.metadata)
        assert "a value" not in words, name
        assert "<" not in words


def test_a_stored_configuration_of_another_fuseid_is_refused_by_its_key():
    with pytest.raises(
        ConfigError, match=r"^run 7 was written by a fuseid with other keys: run.wave is no key .did you"
    ):
        read_stored(Config, {"run": {"wave": 7}}, "run 7")
    with pytest.raises(ConfigError, match=r"^it was written .* precision is \"int4\"; it takes fp32, bf16 or fp16$"):
        read_stored(ClipConfig, {"precision": "int4"}, "it")


def test_config_cannot_be_changed_after_it_was_read():
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.run.wave_rows = 1


# The gate


def test_limits_are_numbers_or_shares_by_the_name_of_a_figure(tmp_path):
    path = tmp_path / "fuseid.yaml"
    path.write_text(
        "gate: {limits: {churn 1: {at_most: 20%}, recall@10 of kind = image: {at_least: 0.1, end: middle}}}"
    )
    config = load_config(path)
    limits = {name: limit.model_dump() for name, limit in config.gate.limits.items()}
    assert limits == {
        "churn 1": {"at_least": None, "at_most": 0.2, "end": "worse"},
        "recall@10 of kind = image": {"at_least": 0.1, "at_most": None, "end": "middle"},
    }
    assert read_stored(Config, config.model_dump(mode="json"), "run 1") == config
    assert Config().gate is None


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            "churm 1: {at_most: 1}",
            "line 3: gate.limits.churm 1 is {\"at_most\": 1}; no report has a figure 'churm'; did",
        ),
        ("churn: {at_most: 1}", 'line 3: gate.limits.churn is {"at_most": 1}; say of which depth'),
        ("churn 1: {at_most: many}", 'line 3: gate.limits.churn 1.at_most is "many"; it takes a number like 0.2, or a'),
        ("churn 1:\n      at_most: .nan", "line 4: gate.limits.churn 1.at_most is NaN; it takes a number"),
        (
            "churn 1: {at_mst: 1}",
            "line 3: gate.limits.churn 1.at_mst is no key (did you mean at_most?); known keys of gate",
        ),
        (
            "churn 1: {at_most: 1, end: bettr}",
            'gate.limits.churn 1.end is "bettr"; it takes worse, middle or better (did',
        ),
        ("churn 1: 0.2", "line 3: gate.limits.churn 1 is 0.2; it takes a section with the keys at_least, at_most, end"),
        ("churn 1: {}", "gate.limits.churn 1 is {}; a limit has at_least or at_most"),
        ("churn 1: {at_least: 1, at_most: 0}", "at_least is above at_most"),
        ("churn 1 of popularity = head: {at_most: 1}", "limits of a popularity need gate.popularity"),
        ("", "line 2: gate.limits is null; it takes a section of figures, such as churn 1, each with a section with"),
    ],
)
def test_a_limit_that_cannot_be_is_named_with_its_line(tmp_path, limits, said):
    assert said in refused(tmp_path, f"gate:\n  limits:\n    {limits}\n")
