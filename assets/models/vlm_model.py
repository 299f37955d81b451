"""The mini VLM: FastVLM's architecture from transformers at small width, its tokenizer and its processor.

The vision tower is the mini CLIP's convolutional trunk; a two-layer projector and a small Qwen2 decoder follow it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    CLIPImageProcessor,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GenerationConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SIDE = 80  # pixels, as the mini CLIP
CELLS = 3  # the trunk's last map is 3 x 3 at 80 pixels
FEATURES = 960  # channels of that map
VOCABULARY = 4000
PAD, EOS, IMAGE, ANSWER = 0, 2, 3, 4
SPECIALS = ["<pad>", "<unk>", "</s>", "<image>", "<answer>"]
CAPTION_PROMPT, TAGS_PROMPT = "caption", "tags"

# One user message with a picture and a prompt becomes "<image>caption<answer>"; the reply ends with "</s>".
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<answer>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def prompt(task: str) -> str:
    """The text before an answer, as the chat template makes it."""
    return f"<image>{task}<answer>"


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece vocabulary of the answers' words."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = [AddedToken(text, special=True, normalized=False) for text in SPECIALS]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>", "answer_token": "<answer>"},
        model_max_length=96,
    )


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """The processor scales pictures to a square without cropping, so that nothing at the edges is lost."""
    images = CLIPImageProcessor(
        do_resize=True,
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_convert_rgb=True,
    )
    # The processor counts cells as pixels // patch_size; 80 / 3 rounded down gives the map's 3 cells per side.
    return LlavaProcessor(
        images, tokenizer, patch_size=SIDE // CELLS, vision_feature_select_strategy="full", chat_template=CHAT_TEMPLATE
    )


def new_model() -> FastVlmForConditionalGeneration:
    """Untrained; 5.5 million parameters, 1.2 of them in layers of the trunk that are not used here."""
    vision = {
        "model_type": "timm_wrapper",
        "architecture": "mobilenetv4_conv_small",
        "do_pooling": False,
        "hidden_size": FEATURES,
        "num_labels": 0,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    config = FastVlmConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=CELLS * CELLS,
        tie_word_embeddings=True,
    )
    model = FastVlmForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        max_new_tokens=24, do_sample=False, eos_token_id=EOS, pad_token_id=PAD, bos_token_id=None
    )
    return model


def take_trunk(model: FastVlmForConditionalGeneration, clip_weights: Path) -> None:
    """Copy the mini CLIP's trunk into the vision tower; the layers after its last map stay unused."""
    trunk = {
        name.removeprefix("visual.trunk."): value.float() if value.is_floating_point() else value
        for name, value in load_file(clip_weights).items()
        if name.startswith("visual.trunk.") and ".classifier." not in name
    }
    model.model.vision_tower.timm_model.load_state_dict(trunk)


def save(model: FastVlmForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> int:
    """Write model (fp16 safetensors), configuration and processor; returns the weights' size in bytes."""
    dtype = next(model.parameters()).dtype
    model.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    model.to(dtype)
    processor.save_pretrained(folder)
    return (folder / "model.safetensors").stat().st_size
