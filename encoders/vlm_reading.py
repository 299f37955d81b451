"""How a VLM is asked for an embedding: its prompt, system prompt and pooling, by what its card asks for where known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fuseid.core.config import VlmConfig

CAPTION = "{caption}"


@dataclass(frozen=True, slots=True)
class Reading:
    """pooling: `mean` over all tokens of the prompt, or `last` for its last one.

    suffix: what follows the chat template's opening of the answer; some checkpoints embed at such a token.
    """

    prompt: str = "Describe the picture."
    system: str | None = None
    pooling: str = "mean"
    suffix: str = ""

    @property
    def reads_caption(self) -> bool:
        """Whether an item's caption is read beside its frames."""
        return CAPTION in self.prompt

    def text(self, has_frames: bool, caption: str | None) -> str:
        """What the user's turn says. An item without frames is read by its caption, whatever the prompt."""
        if self.reads_caption:
            return self.prompt.replace(CAPTION, caption or "").strip()
        return self.prompt if has_frames else f"{self.prompt} {caption or ''}".strip()


# By a part of the checkpoint's name, in lower case; each as its model card and the code it points to ask.
KNOWN = {
    # Qwen/Qwen3-VL-Embedding-2B and -8B: instruction as the system prompt, the bare item as the user's turn.
    "qwen3-vl-embedding": Reading("", "Represent the user's input.", "last"),
    # Alibaba-NLP/gme-Qwen2-VL-2B-Instruct and -7B: embeds at the end-of-text token after the opened answer.
    "gme-qwen2-vl": Reading("", "You are a helpful assistant.", "last", "<|endoftext|>"),
}


def reading_of(config: VlmConfig) -> Reading:
    """What the configuration says, and what it leaves open as the model's card has it."""
    name = (config.model or "").rstrip("/").rsplit("/", 1)[-1].lower()
    reading = next((known for part, known in KNOWN.items() if part in name), Reading())
    if config.prompt is not None:
        reading = replace(reading, prompt=config.prompt)
    if config.system is not None:
        reading = replace(reading, system=config.system or None)
    if config.pooling != "auto":
        reading = replace(reading, pooling=config.pooling)
    return reading


def spread(there: int, wanted: int) -> list[int]:
    """At most `wanted` of the positions 0 .. there - 1: the middles of equal parts."""
    count = min(wanted, there)
    return [(2 * i + 1) * there // (2 * count) for i in range(count)]
