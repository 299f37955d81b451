"""Whether IDs have seen what is tested: the pairs of a learned fusion say which events they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuseid.core.artifacts import LEARNED
from fuseid.core.errors import BadInput
from fuseid.core.surface import command
from fuseid.pipelines.evaluation.histories import first_tested
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Progress, note
from fuseid.pipelines.sequences.clock import instant, shown


def check_unseen(
    uri: str, folder: Path, manifest: Mapping[str, Any], tokenizers: Sequence[str], progress: Progress
) -> None:
    """Raises BadInput if a tokenizer's IDs come from a fusion that learned from events of the test of the sequences in
    `folder`; notes those whose pairs do not say which events they were made from.

    Pairs are clear of a test if all their events lie before its first one, or, where each user's last event is tested,
    if they leave out every user's last event.
    """
    learned = {}
    for name in tokenizers:
        fusion = Snapshot.of_manifest(uri, {**manifest, "tokenizer_id": name}).fusion
        if fusion is not None and LEARNED in fusion.meta:
            learned[name] = fusion.meta["pairs"]
    if not learned:
        return
    first, of_users = first_tested(folder), manifest["options"]["split"] == "leave-one-out"
    for name, pairs in learned.items():
        seen = [pairs[key] for key in ("until", "last_event") if pairs.get(key)]
        if not seen:
            note(progress, f"{name}: its pairs do not say of which events they are; see that none is of the test")
        elif not _clear(pairs, first, of_users):
            method = pairs["method"]
            again = command("pairs", interactions="FILE", out="NEW.parquet", method=method, until=shown(first))
            if of_users:
                again = command("pairs", interactions="FILE", out="NEW.parquet", method=method, leave_out=2)
            raise BadInput(
                f"{name} comes from pairs with events up to {min(seen)}, and {folder} tests events from {shown(first)} "
                f"on, so that its IDs have seen what is tested; {again} makes pairs to fit again with"
            )


def _clear(pairs: Mapping[str, Any], first: int, of_users: bool) -> bool:
    until, last = (None if pairs.get(key) is None else instant(pairs[key], None) for key in ("until", "last_event"))
    before = (until is not None and until <= first) or (last is not None and last < first)
    return before or (of_users and bool(pairs.get("leave_out")))
