"""An artifact is named by its content, and anything else in its place is refused in one line."""

import json

import numpy as np
import pytest

from fuseid.core.artifacts import ArtifactInfo, artifact_id, describe, read_artifact, write_artifact
from fuseid.core.errors import ArtifactError
from fuseid.core.fingerprints import STEP_VERSIONS

META = {"version": 1, "weights": {"a": 0.5}, "metrics": {"sample": 10}}
TENSORS = {"codebook.0": np.arange(6, dtype=np.float32).reshape(2, 3), "mean": np.zeros(3, np.float32)}


@pytest.fixture
def saved(tmp_path):
    write_artifact(tmp_path / "artifact", "fusion", META, TENSORS)
    return tmp_path / "artifact"


def refusal(directory, kind="fusion") -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(directory, kind)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    return str(caught.value)


def test_a_written_artifact_is_read_back(saved):
    name, meta, tensors = read_artifact(saved, "fusion")
    assert (name, meta) == (artifact_id("fusion", META, TENSORS), META)
    assert tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(tensors[key], TENSORS[key]) for key in TENSORS)


def test_two_writes_give_the_same_bytes(saved, tmp_path):
    write_artifact(tmp_path / "again", "fusion", META, TENSORS)
    for path in saved.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_id_depends_on_everything_but_the_figures():
    name = artifact_id("fusion", META, TENSORS)
    assert artifact_id("fusion", {**META, "metrics": {}}, TENSORS) == name
    assert artifact_id("fusion", {**META, "version": 2}, TENSORS) != name
    assert artifact_id("fusion", META, {**TENSORS, "mean": np.ones(3, np.float32)}) != name


def test_altered_numbers_are_refused(saved):
    blob = bytearray((saved / "tensors.safetensors").read_bytes())
    blob[-1] ^= 1
    (saved / "tensors.safetensors").write_bytes(blob)
    assert "was altered" in refusal(saved)


def test_altered_metadata_is_refused(saved):
    document = json.loads((saved / "artifact.json").read_text())
    document["meta"]["weights"]["a"] = 0.75
    (saved / "artifact.json").write_text(json.dumps(document))
    assert "was altered" in refusal(saved)


def test_an_artifact_of_another_kind_is_refused(saved):
    assert "no rq-kmeans" in refusal(saved, "rq-kmeans")


def test_an_artifact_of_another_format_is_refused(saved):
    document = json.loads((saved / "artifact.json").read_text())
    (saved / "artifact.json").write_text(json.dumps({**document, "format": 99}))
    assert "format 1" in refusal(saved)


def test_a_missing_directory_is_refused(tmp_path):
    assert "cannot read the fusion" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["artifact.json", "tensors.safetensors"])
def test_a_missing_file_is_refused(saved, name):
    (saved / name).unlink()
    assert "cannot read the fusion" in refusal(saved)


@pytest.mark.parametrize("name", ["artifact.json", "tensors.safetensors"])
@pytest.mark.parametrize("keep", [0, 9, -1])
def test_a_truncated_file_is_refused(saved, name, keep):
    blob = (saved / name).read_bytes()
    text = blob.rstrip()
    (saved / name).write_bytes(text[:keep])
    refusal(saved)


@pytest.mark.parametrize(
    "document",
    [[], "x", None, {}, {"kind": "fusion", "format": 1}, {"kind": "fusion", "format": 1, "id": "x", "meta": []}],
)
def test_json_of_another_shape_is_refused(saved, document):
    (saved / "artifact.json").write_text(json.dumps(document))
    refusal(saved)


def test_a_description_of_an_artifact_has_its_id_and_metadata(tmp_path):
    meta = META | {"version": STEP_VERSIONS["fusion"]}
    name = write_artifact(tmp_path, "fusion", meta, TENSORS)
    assert describe(tmp_path, "fusion") == ArtifactInfo(name, meta)


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("fusion", "ingest into another database and fit there"), ("rq-kmeans", "fit again")],
)
def test_an_artifact_of_another_version_is_refused_with_the_remedy(tmp_path, kind, remedy):
    write_artifact(tmp_path, kind, META | {"version": 99}, TENSORS)
    message = rf"is of version 99 of {kind}, this fuseid has version \d+; {remedy}$"
    with pytest.raises(ArtifactError, match=message):
        describe(tmp_path, kind)
