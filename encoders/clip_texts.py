"""The text tower of an open_clip model alone, for look-ups by words: the same vectors, loaded in a fraction of the
time."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from fuseid.core.config import ClipConfig
from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.devices import Passes, pick_device, rows_that_fit
from fuseid.encoders.model_files import snapshot
from fuseid.encoders.model_identity import HUB, LOCAL, clip_fingerprint, resolve_clip
from fuseid.encoders.open_clip_parts import part
from tokenizers import Tokenizer

log = logging.getLogger("fuseid")

# For `batch_size: auto`. A block has as many frames as `run.block_rows` says: a larger pass would only add padding.
_ROWS_CPU, _ROWS_CUDA = 32, 128
# A frame's activations in a large ViT at full precision stay well below this.
_BYTES_PER_FRAME = 64 << 20
# The classes of transformers that use a tokenizer.json as it is.
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")
_PLAIN_KEYS = {"backend", "is_local", "model_max_length", "tokenizer_class"}

# Texts -> int64 [N, T]
Tokenize = Callable[[list[str]], torch.Tensor]


def block_rows(config: ClipConfig, device: torch.device) -> int:
    """The number of rows of every forward pass."""
    if config.batch_size == "auto":
        return rows_that_fit(device, _BYTES_PER_FRAME, _ROWS_CPU, _ROWS_CUDA)
    return config.batch_size


class TextEncoder:
    """Texts to unit vectors, through any tower."""

    def __init__(
        self,
        tower: Callable[[torch.Tensor], torch.Tensor],
        tokenize: Tokenize,
        device: torch.device,
        block: int,
        passes: Passes,
    ) -> None:
        self._tower, self._tokenize = tower, tokenize
        self._device, self._block, self._passes = device, block, passes

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""
        tokens = list(self._tokenize(list(texts)).numpy())
        return unit_rows(np.stack(self._passes.run(self._forward, tokens, self._block)))

    @torch.inference_mode()
    def _forward(self, tokens_T: list[np.ndarray]) -> np.ndarray:
        tokens = torch.from_numpy(np.stack(tokens_T)).to(self._device)
        return self._tower(tokens).float().cpu().numpy()


class ClipTexts:
    """What an `OpenClip` of the same configuration is for texts, to the last bit."""

    def __init__(self, encode: TextEncoder, fingerprint: str) -> None:
        self._encode = encode
        self.fingerprint = fingerprint

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""
        return self._encode(texts)


def load_clip_texts(config: ClipConfig) -> ClipTexts | None:
    """None for a model whose text tower cannot be loaded without the rest of it: random weights, half precision, towers
    of transformers, weights in the format of another library. Raises ModelError for a model that does not exist."""
    resolved = resolve_clip(config)
    name, tag, pinned = resolved
    if config.precision != "fp32":
        return None
    device = pick_device(config.device)
    try:
        if name.startswith(HUB):
            name = LOCAL + snapshot(name.removeprefix(HUB), pinned)
        tower, tokenize = _loaded(name, tag)
    except Exception as error:
        log.debug("the text tower of %s is loaded with all of open_clip: %s", config.model, error)
        return None
    encode = TextEncoder(tower.to(device), tokenize, device, block_rows(config, device), Passes(device))
    return ClipTexts(encode, clip_fingerprint(config, resolved))


def _loaded(name: str, tag: str | None) -> tuple[torch.nn.Module, Tokenize]:
    """Raises an exception of any kind for what cannot be loaded here."""
    factory, model, pretrained = part("factory"), part("model"), part("pretrained")
    if name.startswith(LOCAL):
        directory = Path(name.removeprefix(LOCAL))
        config = json.loads((directory / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
        weights = factory._find_checkpoint_in_dir(directory)
    else:
        config = factory.get_model_config(name)
        weights = pretrained.download_pretrained(pretrained.get_pretrained_cfg(name, tag))
    if "multimodal_cfg" in config or "hf_model_name" in config["text_cfg"]:
        raise NotImplementedError("a text tower of another kind")
    with _Uninitialised():
        tower = model._build_text_tower(config["embed_dim"], config["text_cfg"], config.get("quick_gelu", False))
    if not config.get("custom_text", False) and (tower.use_pad_mask or tower.cls_emb is not None):
        raise NotImplementedError("a text tower that open_clip runs in another way")
    state = model.convert_to_custom_text_state_dict(factory.load_state_dict(weights, weights_only=True))
    tower.load_state_dict({key[5:]: value for key, value in state.items() if key.startswith("text.")})
    return tower.eval(), _plain_tokenizer(name, config["text_cfg"]) or factory.get_tokenizer(name)


_RANDOM = (torch.Tensor.normal_, torch.Tensor.uniform_)


class _Uninitialised(TorchFunctionMode):
    """Inside, parameters get no numbers: all are replaced by loaded ones. (The device `meta`, which has none, imports
    torch's compiler.)"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM or getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _plain_tokenizer(name: str, text_config: dict[str, Any]) -> Tokenize | None:
    """The tokenizer of a directory with a tokenizer.json, without transformers; None for every other."""
    own = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"} & {key for key in text_config if text_config[key]}
    directory = Path(name.removeprefix(LOCAL))
    if not name.startswith(LOCAL) or own != {"hf_tokenizer_name"} or not (directory / "tokenizer.json").is_file():
        return None
    settings = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    special = {one.content for one in tokenizer.get_added_tokens_decoder().values() if one.special}
    named = {key: value for key, value in settings.items() if key.endswith("_token") and value is not None}
    known = settings.keys() <= _PLAIN_KEYS | named.keys() and all(value in special for value in named.values())
    if settings.get("tokenizer_class") not in _PLAIN or not known or "pad_token" not in named:
        return None
    length = text_config.get("context_length", part("factory").DEFAULT_CONTEXT_LENGTH)
    tokenizer.enable_truncation(length)
    pad = named["pad_token"]
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(pad), pad_token=pad)
    return partial(_tokens, tokenizer, part("tokenizer").get_clean_fn("whitespace"))


def _tokens(tokenizer: Tokenizer, clean: Callable[[str], str], texts: list[str]) -> torch.Tensor:
    return torch.tensor([one.ids for one in tokenizer.encode_batch([clean(text) for text in texts])])
