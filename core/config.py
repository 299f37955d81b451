"""The one configuration file, `fuseid.yaml`: every key, its default and its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fuseid.core.errors import ConfigError

MIB = 1 << 20
Modality = Literal["clip_image", "clip_text", "vlm", "external"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SamplingConfig(Section):
    """How frames of a video are chosen; always by time stamp, never by average frame rate."""

    method: Literal["keyframe", "uniform", "fps"] = "keyframe"
    frames: int = Field(8, ge=1, le=256, description="frames per video (the most, for fps)")
    fps: float = Field(1.0, gt=0, description="frames per second, for method fps")


class DecodeConfig(Section):
    """Limits for media that come from strangers; each is per item."""

    sampling: SamplingConfig = SamplingConfig()
    long_side: int = Field(512, ge=32, description="pixels; frames are reduced to this, aspect kept")
    video_decoder: Literal["auto", "decord", "pyav"] = "auto"
    timeout_seconds: float = Field(60.0, gt=0)
    memory_bytes: int = Field(2048 * MIB, ge=256 * MIB)
    max_bytes: int = Field(4096 * MIB, ge=1)
    max_pixels: int = Field(100_000_000, ge=1, description="pixels of one image or frame")
    max_duration_seconds: float = Field(6 * 3600.0, gt=0)
    max_caption_chars: int = Field(100_000, ge=1)
    thumbnail_side: int = Field(160, ge=16)
    workers: int = Field(0, ge=0, description="decode processes; 0 is one per core")
    items_per_process: int = Field(2000, ge=1, description="a decode process is replaced after this many items")


class ClipConfig(Section):
    """`model`: `builtin:mini-clip`, `ViT-B-32/laion2b_s34b_b79k` and its like, `hf-hub:ORG/REPO`, or `local-dir:PATH`.

    `batch_size` is that of every forward pass, tails padded; another one changes vectors by about 1e-6, so keep it.
    """

    model: str = "builtin:mini-clip"
    revision: str | None = Field(None, description="pinned commit of an hf-hub model")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: int = Field(32, ge=1, description="frames or captions per forward pass")
    device: str = "auto"


class VlmConfig(Section):
    """`model`: `builtin:mini-vlm`, or a transformers image-text-to-text checkpoint, by name or directory."""

    model: str | None = None
    revision: str | None = None
    prompt: str = "Describe the picture."
    pooling: Literal["mean", "last"] = "mean"
    frames: int = Field(1, ge=1, le=32, description="frames of a video that the VLM sees, spread evenly")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: int = Field(8, ge=1)
    device: str = "auto"


class FusionConfig(Section):
    weights: dict[Modality, Annotated[float, Field(ge=0)]] = {
        "clip_image": 1.0,
        "clip_text": 1.0,
        "vlm": 0.5,
        "external": 1.0,
    }
    dim: int = Field(256, ge=1, description="D of the fused vector; fewer where the joined vectors have fewer")
    sample: int = Field(200_000, ge=2, description="items that fusion and tokenizer are fitted on, at most")


class TokenizerConfig(Section):
    kind: Literal["rq-kmeans"] = "rq-kmeans"
    codebook_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 256, 256), min_length=1)
    iterations: int = Field(20, ge=1)
    seed: int = 0


class RunConfig(Section):
    wave_rows: int = Field(5_000, ge=1, description="rows per commit; a crash loses at most one wave's work")
    wave_seconds: float = Field(120.0, gt=0, description="commit at least this often")
    block_rows: int = Field(128, ge=1, description="rows per block between processes; a video counts as its frames")
    lease_seconds: float = Field(30.0, gt=1, description="a writer silent for this long has lost its lease")


class SourceConfig(Section):
    allow: tuple[str, ...] = Field((), description="further path prefixes that uris may point below")


class Config(Section):
    source: SourceConfig = SourceConfig()
    decode: DecodeConfig = DecodeConfig()
    clip: ClipConfig | None = ClipConfig()
    vlm: VlmConfig = VlmConfig()
    fusion: FusionConfig = FusionConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    run: RunConfig = RunConfig()


def load_config(path: str | Path | None = None, overrides: dict[str, object] | None = None) -> Config:
    """Reads `path` (or all defaults), then applies `overrides`, keyed `section.key`.

    Raises ConfigError with one line that names the first bad key.
    """
    data: dict = {}
    if path is not None:
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read config {path}: {str(error).splitlines()[0]}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"config {path} must be a mapping of sections, got {type(data).__name__}")
    for dotted, value in (overrides or {}).items():
        if value is None:
            continue
        *sections, key = dotted.split(".")
        node = data
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise ConfigError(f"config {path}: {section} must be a mapping")
        node[key] = value
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        known = ""
        if first["type"] == "extra_forbidden":
            known = f"; known keys here: {', '.join(_keys_at(first['loc'][:-1]))}"
        raise ConfigError(f"config {path or 'options'}: {where}: {first['msg']}{known}") from None


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Config
    for name in location:
        annotation = section.model_fields[str(name)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return sorted(section.model_fields)
