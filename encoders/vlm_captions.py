"""Cleans a VLM's replies for storage: one line of caption, a short list of tags."""

from __future__ import annotations

import re

from fuseid.encoders.captions import normalise_caption

MAX_CAPTION_CHARS = 2000
MAX_TAG_CHARS = 60
MAX_TAGS = 32
# Bullets, numbering and quotes around a tag.
_AROUND = re.compile(r"^[\s\-*•#\"'`.]*(?:\d+[.)]\s*)?[\"'`#]*|[\s\"'`.!]*$")


def caption_of(reply: str) -> str | None:
    """One line of at most MAX_CAPTION_CHARS without control characters; None for an empty reply."""
    return normalise_caption(reply[:MAX_CAPTION_CHARS], MAX_CAPTION_CHARS)


def tags_of(reply: str) -> tuple[str, ...] | None:
    """A reply split at commas, semicolons and line ends: in lower case, without duplicates, in the reply's order."""
    parts = (_AROUND.sub("", part) for part in re.split(r"[,;\n]", reply))
    tags = dict.fromkeys(caption_of(part.lower()) or "" for part in parts)
    return tuple(tag for tag in tags if 0 < len(tag) <= MAX_TAG_CHARS)[:MAX_TAGS] or None
