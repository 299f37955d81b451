"""A database of sixty items for every test of exports, made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted") / "db"


@pytest.fixture
def fitted(bare: Any, cluster: Any, fitted_once: Path) -> Any:
    """Sixty ready-made vectors with IDs of three levels in the database `db`."""
    if fitted_once.exists():
        shutil.copytree(fitted_once, bare.uri())
    else:
        bare.ingest_vectors(cluster(60))
        bare.fit(tokenizer={"codebook_sizes": [4, 3, 2]})
        shutil.copytree(bare.uri(), fitted_once)
    return bare
