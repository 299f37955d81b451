"""The spaces in which a query can be compared with items, and what each kind of query needs of them."""

from __future__ import annotations

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.modalities import FUSED, modalities
from fuseid.core.names import check_known
from fuseid.core.surface import command, option
from fuseid.pipelines.search.query import Part
from fuseid.pipelines.search.view import View

# Pictures and captions, which are comparable with words and with pictures.
CLIP = "clip"
CLIP_COLUMNS = ("clip_image", "clip_text")
# Parts that are encoded by CLIP, and can be compared in no other space.
_ENCODED = ("text", "image", "video")


def check_space(view: View, space: str) -> None:
    """Raises BadInput for an unknown space, NotReady for one of which the catalogue has no vectors yet."""
    own = [modality.name for modality in modalities(view.dims)]
    check_known("space", space, dict.fromkeys((CLIP, FUSED, *CLIP_COLUMNS, *own)))
    if space == FUSED and not (FUSED in view.dims and view.has_ids):
        raise NotReady(f"{view.store.uri} has no fused vectors yet; {command('fit', view.store.uri)} makes them")
    if not columns_of(view, space):
        raise NotReady(f"{view.store.uri} has no vectors of {space}; its spaces are {', '.join(view.item_spaces)}")


def columns_of(view: View, space: str) -> list[str]:
    """The columns of a space, those that there are."""
    return [name for name in (CLIP_COLUMNS if space == CLIP else (space,)) if name in view.dims]


def check_part(part: Part, space: str | None) -> None:
    """Raises BadInput for a part that cannot be compared in the space."""
    if part.name in _ENCODED and space not in (None, CLIP, *CLIP_COLUMNS):
        raise BadInput(
            f"{option(part.name)} is compared in CLIP space, not in {space}; leave out {option('space')}, or look up "
            f"by {option('like')}"
        )
