"""CLIP through open_clip: frames and captions to unit vectors of one space."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from fuseid.core.config import ClipConfig
from fuseid.core.errors import ModelError
from fuseid.core.fingerprints import fingerprint
from fuseid.encoders.blocks import blocks, in_blocks, unit_rows
from fuseid.encoders.devices import pick_device
from fuseid.encoders.model_files import BUILTIN, builtin_directory, directory_hash

_SCHEMES = ("hf-hub:", "local-dir:")


class OpenClip:
    """Any open_clip model as a `ClipLike`.

    Names: `builtin:mini-clip`; `ARCHITECTURE/PRETRAINED_TAG`; `ARCHITECTURE/random` (seeded, for speed tests);
    `hf-hub:ORG/REPO`; `local-dir:PATH`.

    The geometry of preprocessing is open_clip's own transform on uint8; conversion and normalisation run on the device.
    Raises ModelError, in one line, for a name that is unknown or weights that cannot be loaded.
    """

    def __init__(self, config: ClipConfig) -> None:
        self.block = config.batch_size
        self.device = pick_device(config.device)
        name, tag, files_hash = resolve(config)
        try:
            # Random weights must be the same in every process that encodes.
            torch.manual_seed(0)
            logging.getLogger().addFilter(_no_random_weights_warning)
            model, _, preprocess = open_clip.create_model_and_transforms(
                name, pretrained=tag, precision=config.precision, device=self.device
            )
            self._tokenize = open_clip.get_tokenizer(name)
        except Exception as error:
            raise ModelError(f"cannot load CLIP model {config.model}: {_first_line(error)}") from error
        finally:
            logging.getLogger().removeFilter(_no_random_weights_warning)
        self._model = model.eval()
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]
        *geometry, _to_rgb, _to_tensor, normalise = preprocess.transforms
        self._geometry = geometry
        self._mean = torch.tensor(normalise.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(normalise.std, device=self.device).view(1, 3, 1, 1)
        self.fingerprint = clip_fingerprint(config, files_hash)
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""
        parts = []
        for group in blocks(frames, self.block):
            pixels = np.stack([self._fit(frame) for frame in group])
            parts.append(in_blocks(self._image_block, pixels, self.block))
        return unit_rows(np.concatenate(parts))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm. Captions longer than the model's context are cut by its own tokenizer."""
        return unit_rows(in_blocks(self._text_block, self._tokenize(list(texts)).numpy(), self.block))

    def _fit(self, frame: np.ndarray) -> np.ndarray:
        image = Image.fromarray(frame)
        for transform in self._geometry:
            image = transform(image)
        return np.asarray(image)

    @torch.inference_mode()
    def _image_block(self, pixels_BHWC: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(pixels_BHWC).to(self.device).permute(0, 3, 1, 2).to(torch.float32).div_(255)
        pixels = pixels.sub_(self._mean).div_(self._std).to(self._dtype).contiguous()
        return self._model.encode_image(pixels).float().cpu().numpy()

    @torch.inference_mode()
    def _text_block(self, tokens_BT: np.ndarray) -> np.ndarray:
        return self._model.encode_text(torch.from_numpy(tokens_BT).to(self.device)).float().cpu().numpy()


def resolve(config: ClipConfig) -> tuple[str, str | None, str]:
    """-> (open_clip's model name, pretrained tag, hash of what pins the weights), without building the model.

    Raises ModelError for a name that open_clip does not know.
    """
    model = config.model
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return f"local-dir:{directory}", None, directory_hash(directory)
    if model.startswith("local-dir:"):
        directory = Path(model.removeprefix("local-dir:"))
        if not (directory / "open_clip_config.json").is_file():
            raise ModelError(f"{directory} holds no open_clip_config.json, so it is no open_clip model directory")
        return model, None, directory_hash(directory)
    if model.startswith("hf-hub:"):
        name = model if config.revision is None else f"{model}@{config.revision}"
        return name, None, config.revision or "unpinned"
    if ":" in model:
        raise ModelError(f"unknown scheme in CLIP model {model}; known: {BUILTIN}, {', '.join(_SCHEMES)}")
    name, _, tag = model.partition("/")
    if name not in open_clip.list_models():
        raise ModelError(f"open_clip knows no model {name}; `open_clip.list_models()` lists those that it knows")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag == "random":
        return name, None, "random-0"
    if tag not in tags:
        raise ModelError(
            f"CLIP model {model}: choose a checkpoint as {name}/TAG, TAG one of {', '.join(tags) or 'none'} or random"
        )
    return name, tag, tag


def clip_fingerprint(config: ClipConfig, files_hash: str | None = None) -> str:
    """The fingerprint that an `OpenClip` of this config has; the device and the batch size are not part of it."""
    if files_hash is None:
        files_hash = resolve(config)[2]
    # A directory is known by what it holds, not by where it lies.
    name = "local" if config.model.startswith((BUILTIN, "local-dir:")) else config.model
    return fingerprint("clip", model=name, files=files_hash, precision=config.precision)


def _no_random_weights_warning(record: logging.LogRecord) -> bool:
    return "No pretrained weights" not in record.getMessage()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
