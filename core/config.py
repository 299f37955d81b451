"""The one configuration file, `fuseid.yaml`: every key, its default and its unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fuseid.core.config_problems import LARGEST, Takes, problem
from fuseid.core.errors import ConfigError
from fuseid.core.figures import figure_named
from fuseid.core.fsq_levels import levels_of
from fuseid.core.modalities import VECTOR_NAME
from fuseid.core.nearest import did_you_mean
from fuseid.core.surface import setting
from fuseid.core.yaml_file import YamlFile

MIB = 1 << 20
_SHARE = re.compile(r"-?[0-9]+(\.[0-9]+)?%")
_LIMIT = re.compile(r"[0-9]+(\.[0-9]+)?%|[0-9]+")
ModalityName = Annotated[str, StringConstraints(pattern=VECTOR_NAME), Takes("names of modalities, such as clip_image")]
Whole = Annotated[int, Field(le=LARGEST)]
Seconds = Annotated[float, Field(le=1e9)]
_Section = TypeVar("_Section", bound="Section")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


_Sections = Mapping[str, type[Section]]


class SamplingConfig(Section):
    """How frames of a video are selected: always by time stamp, never by average frame rate."""

    method: Literal["keyframe", "uniform", "fps", "scene"] = "keyframe"
    frames: int = Field(8, ge=1, le=256, description="frames per video (the most, for fps)")
    fps: float = Field(1.0, gt=0, description="frames per second, for method fps")


class DecodeConfig(Section):
    """Limits for untrusted media; each is per item."""

    sampling: SamplingConfig = SamplingConfig()
    long_side: Whole = Field(512, ge=32, description="pixels; frames are reduced to this, aspect kept")
    video_decoder: Literal["auto", "decord", "pyav"] = "auto"
    timeout_seconds: Seconds = Field(60.0, gt=0)
    memory_bytes: Whole = Field(2048 * MIB, ge=256 * MIB)
    max_bytes: Whole = Field(4096 * MIB, ge=1)
    max_pixels: Whole = Field(100_000_000, ge=1, description="pixels of one image or frame")
    max_duration_seconds: Seconds = Field(6 * 3600.0, gt=0)
    max_caption_chars: Whole = Field(100_000, ge=1)
    thumbnail_side: Whole = Field(160, ge=16)
    workers: Whole = Field(0, ge=0, description="decode processes; 0 is one per core")
    items_per_process: Whole = Field(2000, ge=1, description="a decode process is replaced after this many items")


BatchSize = Annotated[Whole, Field(ge=1)] | Literal["auto"]


class ClipConfig(Section):
    """`model`: `builtin:mini-clip`, `ViT-B-32/laion2b_s34b_b79k` and other open_clip names, `hf-hub:ORG/REPO`,
    `local-dir:PATH`, `python:package.module:Class` for your own `ClipLike` class, or `fake` for tests.

    `batch_size` is the number of rows of every forward pass, the last one padded; `auto` depends on device and free
    memory. Another size changes vectors by about 1e-6, so set a number if runs on different machines must agree to the
    last bit.
    """

    model: str = "builtin:mini-clip"
    revision: str | None = Field(None, description="commit of an hf-hub model; a branch is looked up at each run")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: BatchSize = Field("auto", description="frames or captions per forward pass")
    device: str = "auto"


class VlmConfig(Section):
    """`model`: `builtin:mini-vlm`, a transformers image-text-to-text checkpoint, by name or directory, or `fake` for
    tests.

    The defaults of `prompt`, `system` and `pooling` are those of the model card if fuseid knows it, else
    "Describe the picture.", none and the mean. If the prompt contains `{caption}`, the model reads an item's caption
    together with its frames.
    """

    model: str | None = None
    revision: str | None = Field(None, description="commit of a model on the hub; a branch is looked up at each run")
    prompt: str | None = None
    system: str | None = None
    pooling: Literal["auto", "mean", "last"] = "auto"
    dim: Whole | None = Field(None, ge=1, description="keep only the first numbers, for a model trained for this")
    frames: int = Field(1, ge=1, le=32, description="frames of a video that the VLM sees, evenly spread")
    caption: str | None = Field(None, description="prompt for a generated caption; without it, no caption is generated")
    tags: str | None = Field(None, description="prompt for generated tags; without it, no tags are generated")
    max_new_tokens: int = Field(64, ge=1, le=1024, description="tokens of a generated caption or list of tags")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    batch_size: BatchSize = Field("auto", description="items per forward pass; auto bounds their tokens")
    device: str = "auto"


class FusionConfig(Section):
    """`weights`: for each modality by name, 0 for those not named; `auto`: computed from the data; by default 0.5 for
    `vlm` and 1 for every other. `fill`: how an absent modality is replaced."""

    kind: Literal["linear", "learned"] = "linear"
    weights: Literal["auto"] | dict[ModalityName, Annotated[float, Field(ge=0)]] | None = None
    fill: Literal["linear", "renormalise", "mean", "zero"] = "linear"
    dim: Whole = Field(256, ge=1, description="D of the fused vector; fewer if the joined vectors have fewer")
    sample: Whole = Field(200_000, ge=2, description="the most items that the fusion is fitted on")


class LearnedFusionConfig(FusionConfig):
    """The linear fusion and, beside it, a network that is trained on pairs of items that the same people use. Its own
    keys are keyword arguments of `LearnedFusion.fit`."""

    kind: Literal["learned"] = "learned"
    hidden: Whole = Field(512, ge=1, description="units of the hidden layer")
    keep_content: float = Field(5.0, ge=0, le=1000, description="weight of staying near the content, beside the pairs")
    keep: Literal["vectors", "neighbours"] = Field(
        "neighbours", description="what keep_content keeps: the linear fused vectors, or the neighbours by them"
    )
    epochs: Whole = Field(30, ge=1, description="passes over the pairs, at most")
    patience: Whole = Field(5, ge=1, description="epochs without a better hit rate on held-out pairs that end the fit")
    batch_size: Whole = Field(512, ge=2, description="pairs per step of the optimiser")
    epoch_pairs: Whole = Field(200_000, ge=2, description="the most pairs that are drawn for one epoch")
    negatives: Whole = Field(256, ge=0, description="random items beside the pairs of a step")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="of AdamW at the first step; it falls to zero")
    weight_decay: float = Field(0.01, ge=0, le=10, description="of AdamW")
    temperature: float = Field(0.07, gt=0.01, le=1, description="of the contrast at first; it is learned")
    drop_modalities: float = Field(
        0.2, ge=0, lt=1, description="how often a modality is left out in training, so that absent ones are natural"
    )
    device: str = Field("cpu", description="of the training; on another one its bits are its own")
    seed: Whole = Field(0, ge=0)

    def options(self) -> dict[str, Any]:
        """The keys that only this kind has."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in FusionConfig.model_fields}


LINEAR = "linear"
# The kinds of fusions; `encoders.fusions` loads them.
FUSION_SECTIONS: dict[str, type[FusionConfig]] = {LINEAR: FusionConfig, "learned": LearnedFusionConfig}


class TokenizerConfig(Section):
    """The keys of every kind of tokenizer. The section of a kind adds its own keys, which are the keyword arguments of
    its class's `fit`, and is listed in `TOKENIZER_SECTIONS`.

    VERSION: increased by one when the kind's codes change for the same vectors and keys; stored tokenizers of an
    earlier version are then refused.
    """

    VERSION: ClassVar[int]

    kind: str
    codebook_sizes: tuple[Annotated[Whole, Field(ge=1)], ...] = Field((256, 256, 256), min_length=1)
    seed: Whole = Field(0, ge=0)
    sample: Annotated[Whole, Field(ge=2)] | Literal["all"] = Field(
        200_000, description="the most items that the tokenizer is fitted on"
    )
    collisions: Literal["suffix", "reassign", "none"] = Field(
        "suffix", description="what items of the same codes get: a suffix, other codes nearby, or a shared ID"
    )
    bucket_capacity: Whole = Field(1, ge=1, description="items with the same codes that reassign leaves together")
    alternatives: int = Field(32, ge=2, le=256, description="codes that reassign searches for one with room")
    drift_error: float = Field(1.2, gt=1, description="limit of drift: mean error of new items over the fit's")
    drift_divergence: float = Field(0.1, gt=0, description="bits between first codes of new items and the fit's")
    duplicates: Literal["separate", "share"] = Field("separate", description="whether equal content has one ID")

    def options(self) -> dict[str, Any]:
        """The keys that only this kind has."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name not in TokenizerConfig.model_fields
        }


class RQKMeansConfig(TokenizerConfig):
    VERSION = 2

    kind: Literal["rq-kmeans"] = "rq-kmeans"
    iterations: Whole = Field(10, ge=1, description="of k-means, per level")
    beam: int = Field(5, ge=1, le=64, description="paths that encoding keeps from level to level; 1 is greedy")
    refinements: Whole = Field(1, ge=0, description="times that all codebooks are fitted together after k-means")
    balanced: bool = Field(False, description="give every code of a level about equally many items")
    last: Literal["kmeans", "fsq"] = Field(
        "kmeans", description="the last level: fsq is learned so that fewer items share their codes"
    )
    fsq_levels: tuple[Annotated[Whole, Field(ge=2)], ...] | None = Field(
        None, min_length=1, description="of each dimension of fsq; their product is the last codebook size; default 2"
    )
    fsq_epochs: Whole = Field(12, ge=1, description="passes over the vectors that fsq is learned from")
    fsq_repulsion: float = Field(0.15, ge=0, description="how strongly fsq separates items of equal earlier codes")

    @model_validator(mode="after")
    def _has_fitting_levels(self) -> RQKMeansConfig:
        if self.last == "kmeans":
            if self.fsq_levels is not None:
                raise _fsq("fsq_levels belong to last: fsq, which is not set")
            return self
        if len(self.codebook_sizes) < 2:
            raise _fsq(
                "last: fsq follows other levels, so codebook_sizes needs at least two; kind: fsq needs no others"
            )
        try:
            levels_of(self.codebook_sizes[-1], self.fsq_levels)
        except ValueError as error:
            raise _fsq(f"fsq_levels and the last of codebook_sizes do not fit: {error}") from None
        return self


class FSQConfig(TokenizerConfig):
    """An autoencoder whose rounded dimensions are the codes, without an order from coarse to fine."""

    VERSION = 1

    kind: Literal["fsq"] = "fsq"
    levels: tuple[Annotated[tuple[Annotated[Whole, Field(ge=2)], ...], Field(min_length=1)], ...] | None = Field(
        None, min_length=1, description="of the dimensions of each code; their product is its codebook size; default 2"
    )
    hidden: Whole = Field(256, ge=1, description="units of the hidden layer of encoder and decoder")
    epochs: Whole = Field(20, ge=1, description="passes over the vectors that it is learned from")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="of AdamW at the first step; it falls to zero")

    @model_validator(mode="after")
    def _has_fitting_levels(self) -> FSQConfig:
        if self.levels is not None and len(self.levels) != len(self.codebook_sizes):
            raise _fsq(f"levels are of {len(self.levels)} codes, codebook_sizes of {len(self.codebook_sizes)}")
        for code, size in enumerate(self.codebook_sizes):
            try:
                levels_of(size, None if self.levels is None else self.levels[code])
            except ValueError as error:
                raise _fsq(f"levels and codebook_sizes do not fit: {error}") from None
        return self


def _fsq(words: str) -> PydanticCustomError:
    return PydanticCustomError("fsq", "{problem}", {"problem": words})


class RQVAEConfig(TokenizerConfig):
    """An autoencoder whose latents are quantized by residual codebooks; the start is a fit of `rq-kmeans`."""

    VERSION = 1

    kind: Literal["rq-vae"] = "rq-vae"
    latent_dim: Whole | None = Field(None, ge=1, description="numbers of a latent; by default as many as a vector has")
    hidden: Whole = Field(512, ge=1, description="units of the hidden layer of encoder and decoder")
    iterations: Whole = Field(10, ge=1, description="of k-means, per level, for the start")
    refinements: Whole = Field(10, ge=0, description="times that the start fits all codebooks together")
    beam: int = Field(5, ge=1, le=64, description="paths that encoding keeps from level to level; 1 is greedy")
    epochs: Whole = Field(8, ge=1, description="passes over the vectors, at most")
    patience: Whole = Field(5, ge=1, description="epochs without a better R² on held-out vectors that end the fit")
    batch_size: Whole = Field(512, ge=1, description="vectors per step of the optimiser")
    learning_rate: float = Field(
        3e-3, gt=0, le=1, description="of the MLPs and codebooks at the first step; it falls to zero"
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="of AdamW, for encoder and decoder")
    estimator: Literal["ste", "rotation"] = Field(
        "ste", description="how gradients pass the codebooks: unchanged (straight-through), or rotated"
    )
    commitment: float = Field(1.0, ge=0, le=100, description="weight of the distance between latent and codes")
    balance: Literal["sinkhorn", "none"] = Field(
        "sinkhorn", description="prices for codes, and pairs of codes, that many items have"
    )
    balance_codes: float = Field(0.025, ge=0, le=1, description="price per factor e of use, in shares of the variance")
    balance_pairs: float = Field(0.01, ge=0, le=1, description="the same for two codes together")
    least_entropy: float = Field(0.5, ge=0, le=1, description="normalised; a level below it has collapsed: no result")


DEFAULT_KIND = "rq-kmeans"
# The kinds of tokenizers; their classes are in `tokenizers.registry`.
TOKENIZER_SECTIONS: dict[str, type[TokenizerConfig]] = {
    DEFAULT_KIND: RQKMeansConfig,
    "rq-vae": RQVAEConfig,
    "fsq": FSQConfig,
}
# Of each section that has kinds: its class, the sections of the kinds, and the default.
KINDS: tuple[tuple[type[Section], _Sections, str], ...] = (
    (FusionConfig, FUSION_SECTIONS, LINEAR), (TokenizerConfig, TOKENIZER_SECTIONS, DEFAULT_KIND),
)  # fmt: skip


def _of_kind(sections: _Sections, default: str) -> Callable[[object], object]:
    """-> the section for `kind`. Refuses a kind that does not exist, and a key that belongs to another kind."""

    def section_for(value: object) -> object:
        if not isinstance(value, dict):
            return value
        kind = value.get("kind", default)
        section = sections.get(kind) if isinstance(kind, str) else None
        if section is None:
            meant = did_you_mean(str(kind), sections)
            raise _wrong("kind", kind, f"no kind has this name{meant}; there are {', '.join(sections)}")
        for key in value:
            owners = [name for name, other in sections.items() if key in other.model_fields]
            if owners and kind not in owners:
                raise _wrong(key, value[key], f"this is a key of kind {' and '.join(owners)}, not of {kind}")
        return section.model_validate(value)

    return section_for


def _wrong(key: str, value: object, problem: str) -> ValidationError:
    error = PydanticCustomError("kind", "{problem}", {"problem": problem})
    return ValidationError.from_exception_data("kind", [{"type": error, "loc": (key,), "input": value}])


def _is_limit(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _LIMIT.fullmatch(text):
        message = "must be a share like 5% or a number of items like 100, not {value}"
        raise PydanticCustomError("limit", message, {"value": repr(value)})
    return text


# A share of the items, `5%`, or a number of them, `100`.
Limit = Annotated[
    str,
    BeforeValidator(_is_limit),
    Takes("a share of the items like 5%, or a number of them like 100"),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": f"^({_LIMIT.pattern})$"}, {"type": "integer", "minimum": 0}]}
    ),
]


def allowed(limit: str, items: int) -> float:
    """How many of `items` a limit allows."""
    return items * float(limit[:-1]) / 100 if limit.endswith("%") else float(limit)


class RunConfig(Section):
    wave_rows: Whole = Field(5_000, ge=1, description="rows per commit; a crash loses at most one wave's work")
    wave_vectors: Whole = Field(
        100_000, ge=1, description="the same for ready-made vectors, which are quickly read again"
    )
    wave_seconds: Seconds = Field(120.0, gt=0, description="commit at least this often")
    block_rows: Whole = Field(128, ge=1, description="rows per block between processes; a video counts as its frames")
    encoders: Whole | None = Field(None, ge=1, description="most encoder actors on Ray; default: one per GPU or node")
    fitters: Whole | None = Field(None, ge=1, description="actors of a fit on Ray; default: one per core")
    lease_seconds: Seconds = Field(30.0, gt=1, description="a lease that is not renewed for this long is lost")
    report_seconds: Seconds = Field(60.0, gt=0, description="how often a run logs and records how far it is")
    drain_seconds: Seconds = Field(20.0, ge=0, description="time in which a stopped run finishes its work in progress")
    max_rejected: Limit | None = Field(None, description="of the items of a run; more, or all, rejected is status 4")
    max_prune: Limit = Field("20%", description="of the items in the database; --prune refuses to remove more")


UserAgent = Annotated[
    str,
    StringConstraints(pattern=r"^[!-~]([ -~]*[!-~])?$", max_length=200),
    Takes("text of up to 200 printable ASCII characters"),
]


class SourceConfig(Section):
    """Which uris are allowed. By default: only local files below the manifest's folder."""

    allow: tuple[str, ...] = Field((), description="further folders and uris, such as s3://bucket/dir/")
    schemes: tuple[Literal["s3", "gs", "https", "http"], ...] = Field((), description="remote schemes that are opened")
    private_hosts: bool = Field(False, description="http may connect to private and loopback addresses")
    timeout_seconds: Seconds = Field(60.0, gt=0, description="for one remote file, retries included")
    user_agent: UserAgent | None = Field(
        None, description="how fuseid names itself to web servers; by default fuseid/VERSION"
    )
    concurrency: Whole = Field(16, ge=1, description="remote files that one decoding process fetches at a time")
    shard_in_id: bool = Field(False, description="members of tar shards are named SHARD/KEY, for keys that repeat")
    expect_rows: Whole | None = Field(None, ge=1, description="refuse a source that lists more or fewer items")
    require_success: bool = Field(False, description="refuse a source without a file _SUCCESS beside it")


class LookupConfig(Section):
    recall: float = Field(0.95, gt=0, le=1, description="share of the 10 nearest items that look-ups are to find")
    timeout_seconds: float = Field(60.0, gt=0, description="a query with --where is ended after this long")


FigureName = Annotated[str, Takes("figures, such as churn 1")]


def _is_bound(value: object) -> object:
    """20% is 0.2."""
    if isinstance(value, str) and _SHARE.fullmatch(value):
        return float(value[:-1]) / 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = "must be a number like 0.2 or a share like 20%, not {value}"
        raise PydanticCustomError("bound", message, {"value": repr(value)})
    return value


Bound = Annotated[
    float,
    BeforeValidator(_is_bound),
    Takes("a number like 0.2, or a share like 20%"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{_SHARE.pattern}$"}]}),
]


class LimitConfig(Section):
    """`end`: which end of the figure's 95% interval is compared: the worse one, so that only a figure that is certain
    to be within the limit passes; its middle, the figure itself; or the better one, so that only one that is certain
    to be beyond it fails."""

    at_least: Bound | None = None
    at_most: Bound | None = None
    end: Literal["worse", "middle", "better"] = "worse"

    @model_validator(mode="after")
    def _has_a_bound(self) -> LimitConfig:
        if self.at_least is None and self.at_most is None:
            raise _problem("a limit has at_least or at_most, such as {at_most: 0.2}")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise _problem("at_least is above at_most: no figure is within both")
        return self


def _problem(words: str) -> PydanticCustomError:
    return PydanticCustomError("gate", "{problem}", {"problem": words})


def _are_figures(value: object) -> object:
    for name, limit in value.items() if isinstance(value, dict) else ():
        try:
            figure_named(str(name))
        except ValueError as error:
            raise _wrong(str(name), limit, str(error)) from None
    return value


class GateConfig(Section):
    """Limits that a tokenizer has to keep before it is promoted (docs/refits.md). `limits`: by the name of a figure of
    the report, such as `normalised_entropy 1`, `collision_b`, `recall@10`, `churn 2`, `churn 1 of kind = video`."""

    limits: Annotated[dict[FigureName, LimitConfig], BeforeValidator(_are_figures)] = Field(min_length=1)
    popularity: str | None = Field(None, description="numeric attribute, for limits of slices `popularity = head`")
    sample: Whole = Field(20_000, ge=2, description="items whose vectors are measured")

    @model_validator(mode="after")
    def _has_a_popularity(self) -> GateConfig:
        if self.popularity is None and any(figure_named(name).by == "popularity" for name in self.limits):
            raise _problem("limits of a popularity need gate.popularity, the numeric attribute that it is")
        return self


class Config(Section):
    source: SourceConfig = SourceConfig()
    decode: DecodeConfig = DecodeConfig()
    clip: ClipConfig | None = ClipConfig()
    vlm: VlmConfig = VlmConfig()
    fusion: Annotated[SerializeAsAny[FusionConfig], BeforeValidator(_of_kind(FUSION_SECTIONS, LINEAR))] = FusionConfig()
    tokenizer: Annotated[
        SerializeAsAny[TokenizerConfig], BeforeValidator(_of_kind(TOKENIZER_SECTIONS, DEFAULT_KIND))
    ] = RQKMeansConfig()
    run: RunConfig = RunConfig()
    lookup: LookupConfig = LookupConfig()
    gate: GateConfig | None = Field(None, description="by default every tokenizer may be promoted")


def load_config(path: str | Path | None = None, overrides: dict[str, object] | None = None) -> Config:
    """Reads `path` (or uses all defaults), then applies `overrides`, whose keys are `section.key`.

    Raises ConfigError with one line that names the first bad key, its value, what it takes, and its line in the file.
    """
    file = None if path is None else YamlFile(path)
    data = {} if file is None else file.data
    given = {dotted: value for dotted, value in (overrides or {}).items() if value is not None}
    for dotted, value in given.items():
        *sections, key = dotted.split(".")
        node = data
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                break
        else:
            node[key] = value
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        where, what = problem(error, Config, data, section_of)
    overridden = next((dotted for dotted in given if where[: dotted.count(".") + 1] == tuple(dotted.split("."))), None)
    if overridden is not None:
        raise ConfigError(f"{setting(overridden)} {what}")
    line = None if file is None else file.line(where)
    place = f"config {path}" if line is None else f"config {path}, line {line}"
    raise ConfigError(f"{place}: {'.'.join(where)} {what}")


def read_stored(section: type[_Section], document: Any, where: str) -> _Section:
    """A configuration, or a section, as a database holds it. Raises ConfigError for that of a fuseid that has other
    keys. where: what holds it."""
    try:
        return section.model_validate(document)
    except ValidationError as error:
        key, what = problem(error, section, document, section_of if section is Config else _no_sections)
        raise ConfigError(f"{where} was written by a fuseid with other keys: {'.'.join(key)} {what}") from None


def section_of(key: tuple[str, ...], value: Any) -> type[Section] | None:
    """The class of the section at a key, for this value; None for a key that is no section."""
    section: type[Section] = Config
    for name in key:
        field = section.model_fields.get(name)
        parts = [] if field is None else [field.annotation]
        parts += [] if not parts or get_origin(parts[0]) is dict else getattr(parts[0], "__args__", ())
        found = [part for part in parts if isinstance(part, type) and issubclass(part, Section)]
        if not found:
            return None
        section = found[0]
    for base, sections, default in KINDS:
        if section is base:
            kind = value.get("kind", default) if isinstance(value, dict) else default
            return sections.get(kind, sections[default]) if isinstance(kind, str) else sections[default]
    return section


def _no_sections(key: tuple[str, ...], value: Any) -> None:
    return None
