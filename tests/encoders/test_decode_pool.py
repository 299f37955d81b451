import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from fuseid.core.config import MIB, DecodeConfig
from fuseid.core.errors import CorruptMedia, DecodeCrashed, DecodeTimeout, ItemError, MissingFile, OutOfMemory
from fuseid.core.platform import FACILITIES
from fuseid.core.records import Decoded
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.media import decode

from ..data.make_hostile import hostile  # noqa: TID252  (the tests are no package that could be named)

CONFIG = DecodeConfig(timeout_seconds=30)


@pytest.fixture(autouse=True)
def _seam(monkeypatch):
    monkeypatch.setenv("FUSEID_DECODE_TEST_SEAM", "1")


@pytest.fixture(params=["", ",".join(FACILITIES)], ids=["linux", "other system"])
def system(request, monkeypatch):
    """This one, and one that has nothing of what Linux alone has."""
    monkeypatch.setenv("FUSEID_LACKS", request.param)


@pytest.fixture
def picture(tmp_path) -> str:
    path = tmp_path / "picture.png"
    Image.effect_noise((64, 48), 90).convert("RGB").save(path)
    return str(path)


def only(pool: DecodePool, path: str, kind: str) -> Decoded | ItemError:
    (result,) = pool.decode_many([(path, kind)])
    return result


def children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        try:
            if "fuseid.encoders.decode_child" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_results_are_those_of_this_process_and_in_order(tmp_path, plain_mp4):
    items = []
    for number in range(12):
        path = tmp_path / f"näme {number}'.png"
        Image.new("RGB", (40 + number, 30), (number, 0, 0)).save(path)
        items.append((str(path), "image"))
    items[5] = (str(plain_mp4), "video")
    items[7] = (str(tmp_path / "missing.png"), "image")
    with DecodePool(CONFIG, workers=2) as pool:
        results = list(pool.decode_many(items))
    for index, ((path, kind), result) in enumerate(zip(items, results, strict=True)):
        if index == 7:
            assert isinstance(result, MissingFile)
            assert "missing.png" in str(result)
            continue
        expected = decode(path, kind, CONFIG)
        assert isinstance(result, Decoded)
        assert np.array_equal(result.frames, expected.frames)
        assert np.array_equal(result.timestamps, expected.timestamps)
        for field in ("width", "height", "duration", "media_hash", "decoder", "thumbnail"):
            assert getattr(result, field) == getattr(expected, field)
        assert result.frames.flags.writeable


def test_file_names_that_are_not_utf8_are_decoded(tmp_path, picture):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    os.link(picture, path)
    with DecodePool(CONFIG) as pool:
        assert isinstance(only(pool, path, "image"), Decoded)


@pytest.mark.parametrize("kind", ["test:hang"])
def test_a_hanging_item_is_killed_and_the_next_one_decodes(picture, kind):
    with DecodePool(DecodeConfig(timeout_seconds=2)) as pool:
        assert isinstance(only(pool, picture, "image"), Decoded)
        start = time.monotonic()
        timeout, good = pool.decode_many([("poison", kind), (picture, "image")])
        assert time.monotonic() - start < 20
        assert isinstance(timeout, DecodeTimeout)
        assert "'poison' took longer than 2 seconds" in str(timeout)
        assert isinstance(good, Decoded)


@pytest.mark.parametrize(("kind", "how"), [("test:abort", "SIGABRT"), ("test:segfault", "SIGSEGV")])
def test_a_crashing_item_costs_only_itself(picture, kind, how):
    with DecodePool(CONFIG) as pool:
        first, crash, last = pool.decode_many([(picture, "image"), ("poison", kind), (picture, "image")])
    assert isinstance(first, Decoded)
    assert isinstance(last, Decoded)
    assert isinstance(crash, DecodeCrashed)
    assert how in str(crash)
    assert "poison" in str(crash)


@pytest.mark.parametrize("kind", [pytest.param("test:eat", marks=pytest.mark.slow), "test:bad_alloc"])
def test_an_item_that_allocates_without_end_is_out_of_memory(picture, kind, system):
    with DecodePool(DecodeConfig(memory_bytes=256 * MIB)) as pool:
        eater, good = pool.decode_many([("eater", kind), (picture, "image")])
    assert isinstance(eater, OutOfMemory)
    assert "256 MiB" in str(eater)
    assert isinstance(good, Decoded)


def test_a_picture_that_needs_too_much_memory_is_out_of_memory(tmp_path, picture, system):
    path = tmp_path / "large.png"
    Image.new("RGB", (9500, 9500)).save(path, compress_level=1)
    with DecodePool(DecodeConfig(memory_bytes=256 * MIB)) as pool:
        large, good = pool.decode_many([(str(path), "image"), (picture, "image")])
    assert isinstance(large, OutOfMemory)
    assert isinstance(good, Decoded)


@pytest.mark.slow
def test_a_video_that_needs_too_much_memory_is_out_of_memory(tmp_path, picture):
    (table,) = [item for item in hostile() if item.name == "videos/times.mp4"]
    table.write(tmp_path)
    with DecodePool(DecodeConfig(memory_bytes=256 * MIB)) as pool:
        large, good = pool.decode_many([(str(tmp_path / table.name), "video"), (picture, "image")])
    assert isinstance(large, OutOfMemory)
    assert isinstance(good, Decoded)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_time_is_limited_for_pictures_and_videos(tmp_path, plain_mp4, kind):
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 6000)).save(path, compress_level=1)
    with DecodePool(DecodeConfig(timeout_seconds=0.02)) as pool:
        assert isinstance(only(pool, str(path if kind == "image" else plain_mp4), kind), DecodeTimeout)


def test_prints_of_libraries_do_not_disturb_the_pipe(picture):
    with DecodePool(CONFIG) as pool:
        noise, good = pool.decode_many([("x", "test:print"), (picture, "image")])
    assert isinstance(noise, CorruptMedia)
    assert isinstance(good, Decoded)


def test_test_kinds_are_off_by_default(monkeypatch):
    monkeypatch.delenv("FUSEID_DECODE_TEST_SEAM")
    with DecodePool(CONFIG) as pool:
        assert isinstance(only(pool, "x", "test:abort"), CorruptMedia)


def test_children_are_kept_warm_and_replaced_in_time(picture):
    with DecodePool(DecodeConfig(items_per_process=3)) as pool:
        pids = []
        for _ in range(7):
            assert isinstance(only(pool, picture, "image"), Decoded)
            (child,) = children()
            pids.append(child.pid)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert children() == []


def test_the_child_loads_no_model_libraries(picture, plain_mp4):
    with DecodePool(CONFIG) as pool:
        list(pool.decode_many([(picture, "image"), (str(plain_mp4), "video")]))
        (child,) = children()
        loaded = Path(f"/proc/{child.pid}/maps").read_text()
    assert "/av/" in loaded
    # Once Ray has run in this process, psutil is the one in Ray's folder.
    for library in ("/torch/", "/ray/_raylet", "/lancedb/", "/pyarrow/"):
        assert library not in loaded


def test_close_ends_work_in_progress(picture):
    pool = DecodePool(CONFIG, workers=2)
    results = pool.decode_many([(picture, "image"), ("x", "test:hang"), ("y", "test:hang")])
    assert isinstance(next(results), Decoded)
    start = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - start < 15
    assert children() == []
    with pytest.raises(RuntimeError, match="closed"):
        pool.decode_many([(picture, "image")])


def test_an_abandoned_iterator_leaves_a_usable_pool(picture):
    with DecodePool(CONFIG, workers=2) as pool:
        for _ in range(3):
            results = pool.decode_many([(picture, "image")] * 50)
            next(results)
            results.close()
        assert isinstance(only(pool, picture, "image"), Decoded)


def test_a_child_that_cannot_start_is_not_the_items_fault(picture, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with DecodePool(CONFIG) as pool, pytest.raises(RuntimeError, match="cannot start a decoding process"):
        only(pool, picture, "image")


# At work a child waits for nothing from its parent; the second kind holds the interpreter's lock meanwhile.
@pytest.mark.parametrize(
    ("kind", "lacks"),
    [("image", ""), ("test:hang", ""), ("test:wait", "parent-death-signal"),
     pytest.param("test:hang", "parent-death-signal", marks=pytest.mark.slow)],
)  # fmt: skip
def test_children_die_with_their_parent(tmp_path, picture, kind, lacks, monkeypatch):
    monkeypatch.setenv("FUSEID_LACKS", lacks)
    seconds = 1.5 if kind == "test:hang" else 60
    program = tmp_path / "parent.py"
    program.write_text(
        "import sys, threading, time\n"
        "import psutil\n"
        "from fuseid.core.config import DecodeConfig\n"
        "from fuseid.encoders.decode_pool import DecodePool\n"
        f"pool = DecodePool(DecodeConfig(timeout_seconds={seconds}))\n"
        f"list(pool.decode_many([({picture!r}, 'image')]))\n"
        f"threading.Thread(target=lambda: list(pool.decode_many([({picture!r}, {kind!r})])), daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # its new parent may not reap it


@pytest.fixture
def fault(tmp_path, monkeypatch):
    """Sets a fault for the children started from now on; returns the folder of the marks."""

    def arm(text: str) -> Path:
        monkeypatch.setenv("FUSEID_FAULT", text)
        monkeypatch.setenv("FUSEID_FAULT_MARKS", str(tmp_path))
        return tmp_path

    return arm


@pytest.mark.parametrize("step", ["decode.start", "decode.item"])
def test_a_child_that_is_killed_once_costs_no_item(step, picture, fault):
    marks = fault(step)
    with DecodePool(CONFIG, workers=1) as pool:
        assert isinstance(only(pool, picture, "image"), Decoded)
    assert (marks / step).exists()


def test_an_item_that_kills_every_child_costs_itself(picture, tmp_path, fault):
    other = tmp_path / "poison.png"
    other.write_bytes(Path(picture).read_bytes())
    fault("decode.item@poison")
    with DecodePool(CONFIG, workers=1) as pool:
        results = list(pool.decode_many([(picture, "image"), (str(other), "image"), (picture, "image")]))
    assert [type(result) for result in results] == [Decoded, OutOfMemory, Decoded]


def test_children_that_cannot_be_started_are_no_items_fault(picture, fault):
    fault("decode.start@")
    with DecodePool(CONFIG, workers=1) as pool, pytest.raises(RuntimeError, match="cannot start a decoding process"):
        only(pool, picture, "image")
