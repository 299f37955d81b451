# Python 3.11 and a package registry are all that is needed: every target makes .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Two processes, each with whole files of tests.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all check bench lock licences deploy-check airflow-check release-check clean

demo: .venv/ready
	$(BIN)/fuseid demo

test: .venv/ready
	$(BIN)/python -m pytest $(TWO) -m "not slow"

# With the slow ones: kills and signals at every step, clusters, trained models, hostile media, every variant.
# SLOW_MINUTES=40: those that have not begun by then are skipped and counted; the others always run.
test-all: .venv/ready
	$(BIN)/python -m pytest $(TWO) $(if $(SLOW_MINUTES),--slow-minutes $(SLOW_MINUTES))

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_layout.py
	rm -rf build && mkdir -p build/check
	$(BIN)/uv build -q --wheel --no-build-isolation --python $(BIN)/python --out-dir build/check .
	cd build/check && ../../$(BIN)/python -m zipfile -e fuseid-*.whl wheel && rm -rf wheel/fuseid/sample
	cd build/check/wheel && ../../../$(BIN)/python -m mypy --config-file ../../../pyproject.toml -p fuseid

bench: .venv/ready
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/encoders.py
	$(BIN)/python benchmarks/captions.py
	$(BIN)/python benchmarks/vectors.py ingest

# uv rather than pip: it resolves torch and torchvision from one registry, and installs the stack in about a minute.
.venv/ready: requirements.lock requirements-bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "fuseid needs Python 3.11: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q core encoders tokenizers pipelines ray_jobs api apps
	touch $@

lock:
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra dev --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock

licences: .venv/ready
	$(BIN)/python release/licences.py

# Each in an environment of its own, which uv makes and keeps in its cache. CRDS=FOLDER: KubeRay's custom resource definitions.
deploy-check: .venv/ready
	$(BIN)/uv run -q --no-project --python $(BIN)/python --script deploy/check.py $(CRDS)

airflow-check: .venv/ready
	$(BIN)/uv run -q --no-project --python $(BIN)/python --script deploy/check_airflow.py

# Leaves wheel and sdist in dist/. QUICK=1: without the fresh environments, which take minutes and 7 GB each.
release-check: .venv/ready
	UV=$(CURDIR)/$(BIN)/uv $(BIN)/uv run -q --no-project --python $(BIN)/python --script release/check.py $(if $(QUICK),--no-install)

clean:
	rm -rf .venv build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
