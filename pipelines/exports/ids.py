"""Export of semantic IDs: from one pinned version of a database, in the format that a trainer reads, reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.installed import versions
from fuseid.core.surface import command, option
from fuseid.pipelines.exports import both
from fuseid.pipelines.exports.changes import read_changes, write_changes
from fuseid.pipelines.exports.columns import ExportInfo
from fuseid.pipelines.exports.folder import load_manifest, new_folder, write_manifest
from fuseid.pipelines.exports.formats import cornac, grid, minionerec, openonerec, parquet, sidinspector
from fuseid.pipelines.exports.formats.base import DeltaFormat, ExportFormat
from fuseid.pipelines.exports.registry import format_named
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Lines, Progress, tracked

# These formats name an item by its position among the content_ids, which changes when items are added or removed.
_NUMBERED = (grid.NAME, minionerec.NAME, openonerec.NAME, cornac.NAME, sidinspector.NAME)
# Other versions of these packages may write the same IDs in other bytes.
_LIBRARIES = ("fuseid", "pyarrow", "torch")


def export_ids(
    uri: str,
    out: str | Path,
    format: str | None = None,
    tokenizer_id: str | None = None,
    since: str | None = None,
    manifest: Path | None = None,
    progress: Progress | None = None,
    with_id: str | None = None,
) -> dict[str, Any]:
    """Writes the IDs of all items that are in the catalogue now, in a format (by default `parquet`), into a new folder
    `out`, tags the versions that it has read, and writes `manifest.json` last, which it returns. The same versions give
    the same bytes.

    tokenizer_id: whose IDs, by default the champion's. since: the tag of an earlier export; the changes since then are
    written too. manifest: of an earlier export, which is reproduced; it defines all other options. with_id: another
    tokenizer, whose IDs are written beside those of `tokenizer_id`, as `both.write_both` does: the new ones, beside the
    old ones.
    A failure leaves no incomplete folder. Raises BadInput if `out` exists and is not empty and for an unknown format,
    tag or manifest, StoreError if there are no IDs, ArtifactError for an unknown tokenizer, NotReady if `with_id` has
    given no item an ID.
    """
    progress = progress or Lines()
    if manifest is not None:
        if format or tokenizer_id or since or with_id:
            raise BadInput("a manifest names the format, the tokenizers and the tag itself; leave them out")
        return _again(uri, out, manifest, progress)
    if with_id is not None:
        return _both(uri, out, format, tokenizer_id, since, with_id, progress)
    chosen = format_named(format or "parquet")
    now = Snapshot.open(uri, tokenizer_id)
    before = None if since is None else Snapshot.open(uri, tag=since)
    with new_folder(out) as folder:
        facts = _write(folder, chosen, now, before, progress)
        now.tag()
        return write_manifest(folder, facts)


def _both(
    uri: str,
    out: str | Path,
    format: str | None,
    tokenizer_id: str | None,
    since: str | None,
    with_id: str,
    progress: Progress,
) -> dict[str, Any]:
    if format not in (None, parquet.NAME) or since:
        refused = option("since", since) if since else option("format", format)
        raise BadInput(
            f"{option('with_', with_id)} writes both IDs of every item as {parquet.NAME}, from one version; leave out "
            f"{refused}"
        )
    now = Snapshot.open(uri, tokenizer_id)
    other = now.under(with_id, option("with_"))
    with new_folder(out) as folder:
        facts = _write_both(folder, now, other, progress)
        now.tag()
        return write_manifest(folder, facts)


def _again(uri: str, out: str | Path, path: Path, progress: Progress) -> dict[str, Any]:
    wanted = load_manifest(path)
    now = Snapshot.of_manifest(uri, wanted)

    def write(folder: Path) -> dict[str, Any]:
        if isinstance(wanted.get("with"), dict):
            return _write_both(folder, now, now.under(str(wanted["with"].get("tokenizer_id")), "with"), progress)
        before = Snapshot.of_manifest(uri, wanted["since"]) if isinstance(wanted.get("since"), dict) else None
        return _write(folder, format_named(str(wanted.get("format"))), now, before, progress)

    with new_folder(out) as folder:
        made = write_manifest(folder, write(folder))
        if differing := sorted(key for key in {*made, *wanted} if made.get(key) != wanted.get(key)):
            raise BadInput(
                f"the export cannot be made again as {path} says: its {', '.join(differing)} would differ. It was "
                f"written by {_named(wanted.get('written_by'))}, this is {_named(made['written_by'])}"
            )
        now.tag()
    return made


def _write(
    folder: Path, chosen: ExportFormat, now: Snapshot, before: Snapshot | None, progress: Progress
) -> dict[str, Any]:
    """Writes all files except the manifest, whose facts it returns."""
    progress.begin("read", now.pinned.contents.count_rows())
    with now.items(chosen.EXTRA, ordered=chosen.SORTED) as (count, items):
        progress.advance("read", now.pinned.contents.count_rows())
        info = ExportInfo(now.codebook_sizes, count, now.largest_suffix(), now.tokenizer.id)
        chosen.write(tracked(items, f"write {chosen.NAME}", count, progress), folder, info)
    facts = _facts(now, chosen.NAME, count)
    if before is not None:
        facts |= {"since": before.facts(), "changes": _write_changes(folder, chosen, info, now, before, progress)}
    return facts


def _write_changes(
    folder: Path, chosen: ExportFormat, info: ExportInfo, now: Snapshot, before: Snapshot, progress: Progress
) -> dict[str, int]:
    with before.items(("sid",)) as (_, old), now.items(("sid",)) as (count, new):
        counts = write_changes(old, tracked(new, "compare", count, progress), folder, chosen.NAME in _NUMBERED)
    # Codes of two tokenizers have nothing in common: what a format stores by codes is completely new.
    if hasattr(chosen, "write_delta") and before.tokenizer.id == now.tokenizer.id:
        cast(DeltaFormat, chosen).write_delta(read_changes(folder), folder, info)
    return counts


def _write_both(folder: Path, now: Snapshot, other: Snapshot, progress: Progress) -> dict[str, Any]:
    """`_write` with the IDs of two tokenizers."""
    progress.begin("read", now.pinned.contents.count_rows())
    with now.items(parquet.EXTRA) as (count, old), other.items(parquet.EXTRA) as (others, new):
        progress.advance("read", now.pinned.contents.count_rows())
        if count and not others:
            name = other.tokenizer.id
            raise NotReady(f"no item has an ID of {name}; run {command('assign', now.uri, tokenizer=name)}")
        sizes = both.Sizes(now.codebook_sizes, other.codebook_sizes, count)
        counts = both.write_both(tracked(old, f"write {both.NAME}", count, progress), new, folder, sizes)
    return {**_facts(now, both.NAME, count), "with": {**other.id_facts(), "items": others}, "both": counts}


def _facts(now: Snapshot, format: str, count: int) -> dict[str, Any]:
    return {
        **now.facts(),
        "format": format,
        "items": count,
        "items_without_id": now.pinned.contents.count_rows() - count,
        "written_by": versions(*_LIBRARIES),
    }


def _named(libraries: Any) -> str:
    return ", ".join(f"{name} {number}" for name, number in libraries.items()) if isinstance(libraries, dict) else "?"
