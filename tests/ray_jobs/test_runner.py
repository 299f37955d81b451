"""The same contract over both runners: the same rows, the same IDs, whatever the batches and workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fuseid.core.config import Config, load_config
from fuseid.core.errors import BadInput, FuseidError, ModelError, NotReady, Stopped
from fuseid.core.schemas import WORK
from fuseid.pipelines.explain import explain
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner, Runner
from fuseid.pipelines.ingestion.steps import EncodeStep, load_encoders
from fuseid.pipelines.plan import plan
from fuseid.pipelines.runs import runs
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.ray_jobs.runner import RayRunner, check_answers
from fuseid.ray_jobs.sizing import Sizes, sizes_of

from ..encoders import tiny_vlms  # noqa: TID252  (the tests are no package)

pytestmark = pytest.mark.usefixtures("ray_cluster")


def write_catalogue(folder: Path, images: int, captions: int = 6) -> Path:
    """`images` JPEGs, every third without a caption, some captions alone, two bad items; returns the manifest."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8))
        coarse.resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
        caption = f"a picture with the number {number}" if number % 3 else None
        rows.append({"content_id": f"image-{number}", "uri": f"{number}.jpg", "caption": caption})
    rows += [{"content_id": f"text-{number}", "caption": f"only words, {number} of them"} for number in range(captions)]
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture after all")
    rows += [{"content_id": "broken", "uri": "broken.jpg"}, {"content_id": "missing", "uri": "nowhere.jpg"}]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def config(**overrides: object) -> Config:
    return load_config(
        None, {"tokenizer.codebook_sizes": [8, 8], "run.wave_rows": 20, "run.block_rows": 8, **overrides}
    )


def outcome(db: Path) -> tuple[dict[str, str], dict[str, str], dict[str, list[float]]]:
    """IDs by content_id, error class by content_id, fused vectors by content_id."""
    store = Store.open(db)
    rows = store.dataset("contents").to_table(columns=["content_id", "sid", "fused"]).to_pylist()
    rejected = store.dataset("rejected").to_table(columns=["content_id", "error_class"]).to_pylist()
    return (
        {row["content_id"]: row["sid"] for row in rows},
        {row["content_id"]: row["error_class"] for row in rejected},
        {row["content_id"]: row["fused"] for row in rows},
    )


def run_all(db: Path, manifest: Path, runner: Runner, settings: Config) -> None:
    ingest(str(db), open_source(manifest), settings, runner)
    fit(str(db), settings)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Path, Path]:
    """A manifest, and the database of a local run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("media")
    manifest = write_catalogue(folder, images=60)
    db = tmp_path_factory.mktemp("quiet") / "db"
    run_all(db, manifest, LocalRunner(), config())
    return manifest, db


# Encoders on one thread, as the tests: on some processors the last bits of a vector depend on the number of threads.
RUNNERS = {
    "local, other blocks": (LocalRunner, {"run.block_rows": 5, "run.wave_rows": 7, "decode.workers": 1}),
    "ray, other blocks": (
        lambda: RayRunner(sizes=Sizes(2, 0.3, 1, 0.3, 0.0, 1)),
        {"run.block_rows": 13, "run.wave_rows": 100},
    ),
    "ray, two encoders": (lambda: RayRunner(sizes=Sizes(1, 0.3, 2, 0.3, 0.0, 1)), {"run.block_rows": 3}),
}
EVERYDAY = "ray, two encoders"


@pytest.mark.parametrize(
    "name", [name if name == EVERYDAY else pytest.param(name, marks=pytest.mark.slow) for name in RUNNERS]
)
def test_the_same_ids_for_any_runner_batch_size_and_worker_count(
    name: str, quiet: tuple[Path, Path], tmp_path: Path
) -> None:
    manifest, expected = quiet
    runner, overrides = RUNNERS[name]
    run_all(tmp_path / "db", manifest, runner(), config(**overrides))
    ids, rejected, vectors = outcome(tmp_path / "db")
    assert rejected == {"broken": "CorruptMedia", "missing": "MissingFile"}
    assert len(ids) == 66
    assert None not in ids.values()
    assert (ids, rejected, vectors) == outcome(expected)
    _, ingested = runs(tmp_path / "db").runs
    stages = {row["stage"]: row for row in ingested.stages}
    for stage in ("decode", "encode"):
        assert stages[stage]["core_seconds"] > 0
        assert 0 < stages[stage]["busy"] <= 1
        assert stages[stage]["device_seconds"] is None


@pytest.mark.slow
def test_an_ingest_on_ray_does_what_was_planned(quiet: tuple[Path, Path], tmp_path: Path) -> None:
    folder, db = shutil.copytree(quiet[0].parent, tmp_path / "media"), str(shutil.copytree(quiet[1], tmp_path / "db"))
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()][2:]
    rows[0]["caption"], rows[-1]["uri"] = "edited", "3.jpg"
    Image.new("RGB", (64, 48), "teal").save(folder / "4.jpg")
    rows += [{"content_id": "new", "uri": "5.jpg"}, {"content_id": "image-0", "deleted": True}]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    planned = plan(db, open_source(manifest), config(), prune=True).counts
    counts = ingest(db, open_source(manifest), config(), RayRunner(), prune=True).counts
    reasons = {name: planned[name] for name in planned if name.startswith("planned_")}
    assert reasons == {"planned_new": 1, "planned_media": 1, "planned_caption": 1, "planned_rejected_changed": 1}
    assert (planned["removed"], planned["pruned"]) == (1, 1)
    later = ("unchanged", "missing_kept")
    assert {name: counts[name] for name in planned if name not in later} == {
        name: planned[name] for name in planned if name not in later
    }


@pytest.mark.parametrize("runner", [LocalRunner, pytest.param(RayRunner, marks=pytest.mark.slow)])
def test_a_banner_that_a_vlm_refuses_keeps_its_other_vectors(runner: Callable[[], Runner], tmp_path: Path) -> None:
    """A VLM of Qwen's family takes no picture whose sides differ by a factor of more than 200."""
    Image.new("RGB", (3000, 10), "teal").save(tmp_path / "banner.png")
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "card.png")
    manifest = tmp_path / "manifest.jsonl"
    rows = [{"content_id": name, "uri": f"{name}.png", "caption": name} for name in ("banner", "card")]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    db, qwen = tmp_path / "db", config(**{"vlm.model": str(tiny_vlms.save("qwen3_vl", tmp_path / "qwen"))})
    run = ingest(str(db), open_source(manifest), qwen, runner())
    assert (run.counts["committed"], run.counts["rejected"], run.counts["incomplete"]) == (2, 0, 1)
    assert any("vlm (1), such as 'banner': absolute aspect ratio must be smaller than 200" in n for n in run.notes)
    assert set(explain(db, "banner")["vectors"]) == {"clip_image", "clip_text"}
    assert set(explain(db, "banner")["missing"]) == {"vlm"}
    assert explain(db, "card")["missing"] == {}
    again = ingest(str(db), open_source(manifest), qwen, runner(load=_no_model))
    assert again.counts["planned"] == 0
    other = qwen.model_copy(update={"vlm": qwen.vlm.model_copy(update={"prompt": "Another."})})
    assert ingest(str(db), open_source(manifest), other, LocalRunner()).counts["planned"] == 2


def test_a_ray_ingest_of_what_is_there_plans_nothing(quiet: tuple[Path, Path], tmp_path: Path) -> None:
    manifest, db = quiet
    shutil.copytree(db, tmp_path / "db")
    again = ingest(str(tmp_path / "db"), open_source(manifest), config(), RayRunner(load=_no_model))
    assert again.counts["planned"] == 0
    assert again.counts["unchanged"] == 66
    assert again.counts["rejected_before"] == 2


@pytest.mark.slow
def test_a_stopped_ray_run_keeps_finished_items(quiet: tuple[Path, Path], tmp_path: Path) -> None:
    manifest, _ = quiet
    db, fake = tmp_path / "db", config(**{"clip.model": "fake:8", "run.wave_rows": 8, "run.block_rows": 2})
    with pytest.raises(Stopped) as caught:
        ingest(
            str(db), open_source(manifest), fake, RayRunner(),
            after_wave=lambda waves: signal.raise_signal(signal.SIGTERM) if waves == 1 else None,
        )  # fmt: skip
    assert caught.value.exit_status == 143
    store = Store.open(db)
    finished = store.dataset("contents").count_rows() + store.dataset("rejected").count_rows()
    assert 8 <= finished < 68
    assert [row["outcome"] for row in store.dataset("runs").to_table().to_pylist()] == ["stopped"]
    assert ingest(str(db), open_source(manifest), fake, RayRunner()).counts["planned"] == 68 - finished


@pytest.mark.slow
def test_no_more_is_planned_than_the_cluster_can_take() -> None:
    """For a plan of any length, blocks enter as results leave: nothing grows with the catalogue."""
    drawn = 0

    def work() -> Iterator[pa.RecordBatch]:
        nonlocal drawn
        for number in range(300):
            drawn += 1
            row = dict.fromkeys(WORK.names) | {
                "content_id": str(number), "caption": "words", "want_media": False, "want_text": True,
            }  # fmt: skip
            yield pa.RecordBatch.from_pylist([row], schema=WORK)

    sizes = Sizes(2, 0.3, 1, 0.3, 0.0, 1)
    stream = RayRunner(sizes=sizes).stream(work(), config(**{"clip.model": "fake:8"}))
    seen = [next(stream) for _ in range(20)]
    before = 0
    while before < drawn:  # planning continues by itself until there is no room
        before = drawn
        time.sleep(0.5)
    # Four being decoded, one decoded, two at the encoder, four planned ahead, and one held by the planner.
    assert drawn <= 20 + 4 + 1 + 2 + 4 + 1
    seen += stream
    assert sorted(int(batch["content_id"][0].as_py()) for batch in seen) == list(range(300))
    assert drawn == 300


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_own_error(
    quiet: tuple[Path, Path], tmp_path: Path
) -> None:
    manifest, _ = quiet
    with pytest.raises(ModelError, match=r"^no such weights$"):
        ingest(str(tmp_path / "db"), open_source(manifest), config(), RayRunner(load=_broken))


def _broken(config: Config) -> Any:
    raise ModelError("no such weights")


CLUSTERS = [
    ({"CPU": 1.0}, 1),
    ({"CPU": 2.0}, 1),
    ({"CPU": 64.0}, 1),
    ({"CPU": 64.0, "GPU": 8.0}, 1),
    ({"CPU": 2000.0, "GPU": 128.0}, 16),
    ({"CPU": 48.0}, 3),
]


@pytest.mark.parametrize(("resources", "nodes"), CLUSTERS)
def test_reservations_fit_the_cluster(resources: dict[str, float], nodes: int) -> None:
    sizes = sizes_of(resources, nodes)
    reserved = sizes.decoders * sizes.decoder_cpus + sizes.encoders * sizes.encoder_cpus
    assert reserved <= resources["CPU"]
    assert sizes.encoders * sizes.encoder_gpus <= resources.get("GPU", 0)
    assert sizes.encoders == resources.get("GPU", nodes)


def _no_model(config: Config) -> object:
    raise AssertionError("nothing was planned, so no model may be loaded")


def noted(log: Path, config: Config) -> EncodeStep:
    with log.open("a", encoding="ascii") as lines:
        lines.write("loaded\n")
    return load_encoders(config)


def test_an_encoder_loads_its_models_once(tmp_path: Path) -> None:
    manifest, log = tmp_path / "manifest.jsonl", tmp_path / "loads"
    rows = [{"content_id": str(i), "caption": f"words number {i}"} for i in range(60)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = load_config(None, {"clip.model": "fake:8", "run.block_rows": 4})
    run = ingest(
        str(tmp_path / "db"),
        open_source(manifest),
        config,
        RayRunner(partial(noted, log), Sizes(1, 0.3, 1, 0.3, 0.0, 1)),
    )
    assert run.counts["committed"] == 60
    assert log.read_text().splitlines() == ["loaded"]


# Ready-made vectors


def write_vectors(folder: Path) -> Path:
    """Four files with row groups of several sizes, some vectors that cannot be used, and descriptions of some items."""
    rng = np.random.default_rng(11)
    folder.mkdir()
    for number, (rows, group) in enumerate(((70, 9), (1, 1), (40, 40), (90, 31))):
        vectors: list[Any] = rng.normal(size=(rows, 6)).tolist()
        for place, bad in zip(range(3, rows, 17), ([0.0] * 6, None, [1.0], [float("inf")] * 6), strict=False):
            vectors[place] = bad
        columns = {"content_id": [f"{number}-{i}" for i in range(rows)], "vector": vectors}
        if number % 2:
            columns["caption"] = [f"words {i}" if i % 3 else None for i in range(rows)]
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=group)
    return folder


def everything(db: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All of `contents` and of `rejected`, except what differs between any two runs."""
    tables = []
    for name in ("contents", "rejected"):
        table = Store.open(db).dataset(name).to_table()
        other = ("run_id", "updated_at", "first_run", "last_run")
        table = table.drop_columns([column for column in other if column in table.schema.names])
        tables.append(table.sort_by("content_id").to_pylist())
    return tables[0], tables[1]


def run_vectors(db: Path, files: Path, runner: Callable[[], Runner], **overrides: object) -> None:
    """A first run, a fit, and a second run in which many vectors are others and some are new."""
    settings = config(**overrides)
    ingest(str(db), Vectors(files / "[02].parquet", name="audio"), settings, runner())
    fit(str(db), settings)
    changed = files / "changed"
    if not changed.exists():
        changed.mkdir()
        table = pq.read_table(files / "2.parquet")
        pq.write_table(
            table.set_column(1, "vector", table["vector"].take(list(range(39, -1, -1)))), changed / "2.parquet"
        )
        for number in (1, 3):
            shutil.copy(files / f"{number}.parquet", changed)
    ingest(str(db), Vectors(changed, name="audio"), settings, runner())


@pytest.fixture(scope="module")
def quiet_vectors(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Path, Path]:
    files = write_vectors(tmp_path_factory.mktemp("vectors") / "files")
    db = tmp_path_factory.mktemp("quiet") / "db"
    run_vectors(db, files, LocalRunner)
    return files, db


VECTOR_RUNNERS = {
    "local, other waves": (LocalRunner, {"run.wave_vectors": 7}),
    "ray": (RayRunner, {}),
    "ray, other waves": (RayRunner, {"run.wave_vectors": 25}),
}


@pytest.mark.parametrize(
    "name",
    [name if name == "ray, other waves" else pytest.param(name, marks=pytest.mark.slow) for name in VECTOR_RUNNERS],
)
def test_the_same_rows_of_vectors_for_any_runner_and_wave_size(
    name: str, quiet_vectors: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, expected = quiet_vectors
    runner, overrides = VECTOR_RUNNERS[name]
    # Each row group is a part of its own.
    monkeypatch.setattr("fuseid.pipelines.sources.vectors._PART_ROWS", 1)
    run_vectors(tmp_path / "db", files, runner, **overrides)
    contents, rejected = everything(tmp_path / "db")
    assert (contents, rejected) == everything(expected)
    assert len(contents) + len(rejected) == 201
    assert len(rejected) > 5
    assert None not in {row["sid"] for row in contents}


def read(function: Callable[..., Iterator[pa.RecordBatch]], parts: Iterable[Any]) -> list[int]:
    return [number for batch in RayRunner().read(function, parts) for number in batch["number"].to_pylist()]


def _numbers(part: tuple[int, float, str]) -> Iterator[pa.RecordBatch]:
    """Batches of a number, each after a pause; at the second one a mark may kill this process, once."""
    number, seconds, mark = part
    for each in range(3):
        for _ in range(round(seconds / 0.05)):
            time.sleep(0.05)
        if mark and each == 1 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield pa.record_batch({"number": pa.array([10 * number + each])})


@pytest.mark.slow
def test_parts_are_read_in_order_however_long_each_takes() -> None:
    parts = [(number, 0.05 * (number % 3 == 0), "") for number in range(10)]
    assert read(_numbers, parts) == [10 * number + each for number in range(10) for each in range(3)]
    assert read(_numbers, []) == []


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_that_is_read(tmp_path: Path) -> None:
    parts = [(number, 0.0, str(tmp_path / f"{number}") if number % 2 else "") for number in range(6)]
    assert read(_numbers, parts) == [10 * number + each for number in range(6) for each in range(3)]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "3", "5"}


@pytest.mark.slow
def test_a_part_that_always_kills_its_worker_ends_with_one_line() -> None:
    with pytest.raises(FuseidError, match=r"^a worker that read vectors died several times: ") as caught:
        read(_deadly, [1])
    assert "\n" not in str(caught.value)


def _deadly(part: int) -> Iterator[pa.RecordBatch]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield pa.record_batch({"number": pa.array([part])})


@pytest.mark.slow
def test_an_error_of_a_part_comes_through_as_itself() -> None:
    with pytest.raises(BadInput, match=r"^part 3 cannot be read$"):
        read(_bad, range(5))
    with pytest.raises(ZeroDivisionError):
        read(_wrong, range(5))


def _bad(part: int) -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"number": pa.array([part])})
    if part == 3:
        raise BadInput(f"part {part} cannot be read")


def _wrong(part: int) -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"number": pa.array([part])})
    raise ZeroDivisionError


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1])
def test_reading_ends_soon_after_a_halt(after: int) -> None:
    """Also while the next batch takes long."""
    runner = RayRunner()
    stream = runner.read(_numbers, [(0, 0.0, ""), (1, 60.0, "")])
    seen = [next(stream) for _ in range(3 * after)]
    started = time.monotonic()
    threading.Timer(0.3, runner.halt).start()
    seen += stream
    assert time.monotonic() - started < 5
    assert len(seen) <= 3
    # Nothing occupies the cluster any more.
    assert read(_numbers, [(number, 0.0, "") for number in range(4)])
    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_a_file_that_cannot_be_read_on_a_cluster_ends_with_one_line(tmp_path: Path) -> None:
    files = write_vectors(tmp_path / "files")
    source = Vectors(files, name="audio")
    (files / "3.parquet").write_bytes((files / "3.parquet").read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"^cannot read vectors .*3\.parquet: ") as caught:
        ingest(str(tmp_path / "db"), source, config(), RayRunner())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_does_not_answer_is_named_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        check_answers(f"{scheme}{place}")
    with pytest.raises(NotReady, match=rf"no Ray cluster answers at {scheme}{place}.*unset RAY_ADDRESS"):
        check_answers(f"{scheme}{place}")


@pytest.mark.parametrize("address", ["head:node", "head:99999", "ray://head:"])
def test_an_address_of_a_cluster_has_a_port(address):
    with pytest.raises(BadInput, match="RAY_ADDRESS is HOST:PORT"):
        check_answers(address)
