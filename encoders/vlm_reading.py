"""How a VLM is asked for an embedding: prompt, system prompt and pooling; from the model card if fuseid knows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fuseid.core.config import VlmConfig

CAPTION = "{caption}"


@dataclass(frozen=True, slots=True)
class Reading:
    """pooling: `mean` over all tokens of the prompt, or `last` for its last one.

    suffix: text after the start of the answer in the chat template; some checkpoints use the state at such a token.
    """

    prompt: str = "Describe the picture."
    system: str | None = None
    pooling: str = "mean"
    suffix: str = ""

    @property
    def reads_caption(self) -> bool:
        """Whether the model reads an item's caption together with its frames."""
        return CAPTION in self.prompt

    def text(self, has_frames: bool, caption: str | None) -> str:
        """The text of the user's turn. For an item without frames it always contains the caption."""
        if self.reads_caption:
            return self.prompt.replace(CAPTION, caption or "").strip()
        return self.prompt if has_frames else f"{self.prompt} {caption or ''}".strip()


# By a part of the checkpoint's name, in lower case; each follows its model card and the code that the card refers to.
KNOWN = {
    # Qwen/Qwen3-VL-Embedding-2B and -8B: the instruction is the system prompt, the item alone is the user's turn.
    "qwen3-vl-embedding": Reading("", "Represent the user's input.", "last"),
    # Alibaba-NLP/gme-Qwen2-VL-2B-Instruct and -7B: the state at an end-of-text token after the start of the answer.
    "gme-qwen2-vl": Reading("", "You are a helpful assistant.", "last", "<|endoftext|>"),
}


def reading_of(config: VlmConfig) -> Reading:
    """The configuration's settings; what it leaves open comes from the model card."""
    name = (config.model or "").rstrip("/").rsplit("/", 1)[-1].lower()
    reading = next((known for part, known in KNOWN.items() if part in name), Reading())
    if config.prompt is not None:
        reading = replace(reading, prompt=config.prompt)
    if config.system is not None:
        reading = replace(reading, system=config.system or None)
    if config.pooling != "auto":
        reading = replace(reading, pooling=config.pooling)
    return reading


def spread(available: int, wanted: int) -> list[int]:
    """At most `wanted` of the positions 0 .. available - 1: the middles of equal parts."""
    count = min(wanted, available)
    return [(2 * i + 1) * available // (2 * count) for i in range(count)]
