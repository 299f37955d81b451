# Python (3.11, 3.12 or 3.13) and a package registry are all that is needed: every target makes .venv first.
# PYTHON=python3.12 chooses one; a .venv of another version is made again.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do $$each -c '' 2>/dev/null && echo $$each && break; done)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/bin
# Those that are supported.
PYTHONS ?= 3.11 3.12 3.13
# Two processes, each with whole files of tests.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-lowest check resolve wheels bench lock licences deploy-check airflow-check release-check clean

demo: .venv/ready
	$(BIN)/fuseid demo

test: .venv/ready
	$(BIN)/python -m pytest $(TWO) -m "not slow"

# With the slow ones: kills and signals at every step, clusters, trained models, hostile media, every variant.
# SLOW_MINUTES=40: those that have not begun by then are skipped and counted; the others always run.
test-all: .venv/ready
	$(BIN)/python -m pytest $(TWO) $(if $(SLOW_MINUTES),--slow-minutes $(SLOW_MINUTES))

# The lowest version of each dependency that pyproject.toml admits, in an environment of its own.
test-lowest: .venv/ready
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip install -q --python .venv-lowest/bin/python --resolution lowest-direct -e '.[dev]' -r requirements-bootstrap.lock
	PATH="$(CURDIR)/.venv-lowest/bin:$$PATH" .venv-lowest/bin/python -m pytest $(TWO) -m "not slow"

check: .venv/ready resolve
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q tests/test_layout.py
	rm -rf build && mkdir -p build/check
	$(BIN)/uv build -q --wheel --no-build-isolation --python $(BIN)/python --out-dir build/check .
	cd build/check && ../../$(BIN)/python -m zipfile -e fuseid-*.whl wheel && rm -rf wheel/fuseid/sample
	cd build/check/wheel && ../../../$(BIN)/python -m mypy --python-version $(VERSION) --config-file ../../../pyproject.toml -p fuseid

# That every version of the lock has a wheel for the platforms on which no tests run. macOS 14 is the oldest that av has
# wheels for. First by uv's cache alone, which takes a second.
resolve: export MACOSX_DEPLOYMENT_TARGET := 14.0
resolve: .venv/ready
	@for python in $(PYTHONS); do for platform in aarch64-manylinux_2_28 aarch64-apple-darwin; do \
		set -- pip compile -q --python-version $$python --python-platform $$platform --only-binary :all: --all-extras \
			-c requirements.lock pyproject.toml; \
		$(BIN)/uv "$$@" --offline > /dev/null 2>&1 || $(BIN)/uv "$$@" > /dev/null \
			|| { echo "fuseid cannot be installed on $$platform with Python $$python"; exit 1; }; \
	done; done

# The packages `fuseid` and `fuseid-reader`, in dist.
wheels: .venv/ready
	rm -rf build/lib dist/fuseid*.whl
	$(BIN)/uv build -q --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .
	$(BIN)/python deploy/reader_wheel.py dist/fuseid-*.whl --out dist

bench: .venv/ready
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/encoders.py
	$(BIN)/python benchmarks/captions.py
	$(BIN)/python benchmarks/vectors.py ingest

# uv rather than pip: it resolves torch and torchvision from one registry, and installs the stack in about a minute.
ifeq ($(wildcard .venv/lib/python$(VERSION)),)
.PHONY: .venv/ready
endif
.venv/ready: requirements.lock requirements-bootstrap.lock pyproject.toml
	@case "$(VERSION)" in 3.11|3.12|3.13) ;; *) echo "fuseid needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12"; exit 1;; esac
	$(PYTHON) -m venv --clear .venv
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
	rm -rf .venv .venv-lowest build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
