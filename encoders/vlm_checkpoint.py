"""Loads an image-text-to-text checkpoint through transformers; refuses remote code, pickles and missing weights."""

from __future__ import annotations

import os
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.utils import is_flash_attn_2_available
from transformers.utils import logging as transformers_logging

from fuseid.core.config import VlmConfig
from fuseid.core.errors import BadModel
from fuseid.encoders.devices import DTYPES
from fuseid.encoders.model_files import load_failure

# For a checkpoint without safetensors, transformers would ask the hub to convert it, in a background thread.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def load_checkpoint(name: str, commit: str | None, config: VlmConfig, device: torch.device) -> tuple[Any, Any]:
    """-> (processor, model in evaluation mode on `device`, set to generate greedily).

    name: a directory, or a hub name at `commit`. Safetensors are preferred; other weights are read as data only.
    Raises ModelError, in one line, for a checkpoint that cannot be loaded or lacks weights of the model.
    """
    transformers_logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False} | ({"revision": commit} if commit else {})
    attention = _attention(config, device)
    try:
        processor = AutoProcessor.from_pretrained(name, **options)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name,
            weights_only=True,
            dtype=DTYPES[config.precision],
            output_loading_info=True,
            **options,
            **({"attn_implementation": attention} if attention else {}),
        )
    except Exception as error:
        raise load_failure(f"cannot load VLM {config.model}", error, commit is not None) from error
    model, report = loaded
    # Transformers fills missing weights with random numbers. Only generation uses the output layer.
    generates = config.caption is not None or config.tags is not None
    missing = sorted(key for key in report["missing_keys"] if generates or not key.startswith("lm_head"))
    if missing:
        raise BadModel(
            f"VLM {config.model} holds no weights for {len(missing)} parts of {type(model).__name__}, "
            f"{missing[0]} among them; choose a complete image-text-to-text checkpoint"
        )
    if getattr(processor, "tokenizer", None) is None:
        raise BadModel(f"VLM {config.model} has no processor with a tokenizer; choose an image-text-to-text checkpoint")
    model.generation_config = _greedy(model.generation_config, processor.tokenizer)
    return processor, model.eval().to(device)


def _attention(config: VlmConfig, device: torch.device) -> str | None:
    """None leaves the choice to transformers: scaled dot-product attention if the family supports it, else eager."""
    if config.attention != "auto":
        return config.attention
    fused = device.type == "cuda" and config.precision != "fp32" and is_flash_attn_2_available()
    return "flash_attention_2" if fused else None


def _greedy(shipped: GenerationConfig, tokenizer: Any) -> GenerationConfig:
    """Keeps only the special tokens of the checkpoint's settings: sampling would make captions random."""
    end = shipped.eos_token_id if shipped.eos_token_id is not None else tokenizer.eos_token_id
    pad = next((i for i in (shipped.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    return GenerationConfig(do_sample=False, bos_token_id=shipped.bos_token_id, eos_token_id=end, pad_token_id=pad)
