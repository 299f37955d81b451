"""What a VLM says of an item, made fit to store: one line of caption, a short list of tags."""

from __future__ import annotations

import re

from fuseid.encoders.captions import normalise_caption

MAX_CAPTION_CHARS = 2000
MAX_TAG_CHARS = 60
MAX_TAGS = 32
# Bullets, numbering and quotes around a tag.
_AROUND = re.compile(r"^[\s\-*•#\"'`.]*(?:\d+[.)]\s*)?[\"'`#]*|[\s\"'`.!]*$")


def caption_of(reply: str) -> str | None:
    """One line of at most MAX_CAPTION_CHARS without control characters; None for a reply that says nothing."""
    return normalise_caption(reply[:MAX_CAPTION_CHARS], MAX_CAPTION_CHARS)


def tags_of(reply: str) -> tuple[str, ...] | None:
    """What stands between a reply's commas, semicolons and line ends: in lower case, each once, in its order."""
    parts = (_AROUND.sub("", part) for part in re.split(r"[,;\n]", reply))
    tags = dict.fromkeys(caption_of(part.lower()) or "" for part in parts)
    return tuple(tag for tag in tags if 0 < len(tag) <= MAX_TAG_CHARS)[:MAX_TAGS] or None
