"""Tiny checkpoints with random weights, one per family of vision-language models, saved as their publishers do.

Real configurations, models and processors of transformers, a few layers deep and a few dozen numbers wide; the
tokenizer knows single bytes and the family's control tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PaliGemmaConfig,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
    SmolVLMConfig,
)

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WIDTH = 32


def tokenizer(**named: str) -> PreTrainedTokenizerFast:
    """Byte-level, without merges. named: attributes such as image_token, with the token of each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        bos_token=named.pop("bos_token", None),
        extra_special_tokens={"turn_token": "<|im_start|>", **named},
    )


def text_part(tok: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    ids = {"pad_token_id": tok.pad_token_id, "eos_token_id": tok.eos_token_id, "bos_token_id": tok.bos_token_id}
    return ids | {
        "vocab_size": len(tok), "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
    } | more  # fmt: skip


def vision_part(image: int, patch: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": image, "patch_size": patch,
    } | more  # fmt: skip


def smolvlm() -> tuple[Any, Any]:
    """Tiles of 64 pixels and a small whole picture."""
    tok = tokenizer(
        image_token="<image>", fake_image_token="<fake_token_around_image>", global_image_token="<global-img>"
    )
    size = {"longest_edge": 128}
    images = Idefics3ImageProcessor(size=size, max_image_size={"longest_edge": 64}, do_image_splitting=True)
    processor = Idefics3Processor(images, tok, image_seq_len=4, chat_template=CHAT.replace("IMAGE", "<image>"))
    text = text_part(tok, model_type="llama")
    vision = vision_part(64, 16)
    return SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=processor.image_token_id,
        pad_token_id=tok.pad_token_id,
    ), processor  # fmt: skip


def llava_onevision() -> tuple[Any, Any]:
    """Tiles by the picture's shape, of which the padded borders are cut off again."""
    tok = tokenizer(image_token="<image>", video_token="<video>")
    pinpoints = [[a, b] for a in (32, 64, 96) for b in (32, 64, 96)]
    images = LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints)
    processor = LlavaOnevisionProcessor(
        images, tok, LlavaOnevisionVideoProcessor(), num_image_tokens=16, vision_feature_select_strategy="full",
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )  # fmt: skip
    return LlavaOnevisionConfig(
        text_config=text_part(tok, model_type="qwen2"),
        vision_config=vision_part(32, 8, model_type="siglip_vision_model"), image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id, image_grid_pinpoints=pinpoints,
    ), processor  # fmt: skip


def qwen3_vl() -> tuple[Any, Any]:
    """Pictures at their own resolution: the patches of a whole batch in one flat tensor."""
    tok = tokenizer(
        image_token="<|image_pad|>", video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>", vision_end_token="<|vision_end|>",
    )  # fmt: skip
    sizes = {"shortest_edge": 8 * 8 * 16, "longest_edge": 8 * 8 * 400}
    kind = {"size": sizes, "patch_size": 8, "temporal_patch_size": 2, "merge_size": 2}
    template = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**kind), tok, Qwen3VLVideoProcessor(**kind), chat_template=template
    )
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0, "mrope_interleaved": True}
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 64, "depth": 2, "num_heads": 2, "patch_size": 8,
        "out_hidden_size": WIDTH, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }  # fmt: skip
    return Qwen3VLConfig(
        text_config=text_part(tok, head_dim=8, rope_parameters=rope), vision_config=vision,
        image_token_id=tok.image_token_id, video_token_id=tok.video_token_id,
        vision_start_token_id=tok.vision_start_token_id, vision_end_token_id=tok.vision_end_token_id,
    ), processor  # fmt: skip


def paligemma() -> tuple[Any, Any]:
    """No chat template; the prompt attends in both directions."""
    tok = tokenizer(bos_token="<bos>", image_token="<image>")
    images = SiglipImageProcessor(size={"height": 32, "width": 32}, image_seq_length=16)
    processor = PaliGemmaProcessor(images, tok)
    text = text_part(tok, model_type="gemma", head_dim=8)
    return PaliGemmaConfig(
        text_config=text, vision_config=vision_part(32, 8, model_type="siglip_vision_model"),
        image_token_id=processor.image_token_id, projection_dim=WIDTH, hidden_size=WIDTH,
    ), processor  # fmt: skip


def gemma3() -> tuple[Any, Any]:
    """A template that writes the opening token; image tokens attend to each other in both directions."""
    tok = tokenizer(bos_token="<bos>", boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<soft>")
    images = Gemma3ImageProcessor(size={"height": 64, "width": 64})
    template = "{{ bos_token }}" + CHAT.replace("IMAGE", "<start_of_image>")
    processor = Gemma3Processor(images, tok, image_seq_length=16, chat_template=template)
    text = text_part(
        tok, head_dim=8, sliding_window=16, num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"]
    )
    return Gemma3Config(
        text_config=text, vision_config=vision_part(64, 8), mm_tokens_per_image=16,
        boi_token_index=tok.boi_token_id, eoi_token_index=tok.eoi_token_id, image_token_index=tok.image_token_id,
        image_token_id=tok.image_token_id,
    ), processor  # fmt: skip


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "smolvlm": smolvlm,
    "llava_onevision": llava_onevision,
    "qwen3_vl": qwen3_vl,
    "paligemma": paligemma,
    "gemma3": gemma3,
}


def save(family: str, folder: Path) -> Path:
    """Writes the family's checkpoint, the same weights every time; returns its folder."""
    config, processor = FAMILIES[family]()
    # Beyond the tokenizer's own: some processors add tokens when they are made.
    config.get_text_config().vocab_size = len(processor.tokenizer)
    torch.manual_seed(7)
    model = AutoModelForImageTextToText.from_config(config)
    for weights in model.parameters():
        # Wider than the usual start, whose outputs hardly depend on the input.
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.25)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
