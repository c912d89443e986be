# `make` lists the targets. Everything is installed into .venv from requirements.lock; nothing else on the machine changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Tests start the program a few hundred times: it shall not be compiled each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "webhook-router needs Python 3.11 or newer; say which one: make PYTHON=python3.12 …" >&2; exit 2; }
	@test -x $(BIN)/python || { echo "making a virtual environment in $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what requirements.lock pins into $(VENV): a minute or two, this once …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY)  ## make the virtual environment

# The shell outlives Ctrl-C, and 130 says that it came before there was anything to report: neither is a failure of make.
run: $(READY)  ## embedded Postgres, a live feed of sample events, the service; Ctrl-C stops all of it
	@trap : INT; $(BIN)/webhook-router demo || test $$? = 130

# For two cores: most tests wait a third of the time, and a fourth worker only makes the others slower.
WORKERS ?= 3
PARALLEL = $(if $(or $(filter 0,$(WORKERS)),$(findstring no:xdist,$(PYTEST_ARGS))),,-n $(WORKERS))

test: $(READY) tools  ## all tests, on real servers (what cannot be had is skipped); some: make test PYTEST_ARGS='tests/sql -k reply'
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# One test needs no make: .venv/bin/python -m pytest tests/unit/test_lag.py::test_name
test-unit: $(READY)  ## the tests that need no server and no tools, in seconds
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

test-chaos: $(READY)  ## each fault by name: replicas, database, network, disk, brokers
	$(BIN)/python -m pytest tests/chaos $(PYTEST_ARGS)

SEED ?= 1
MINUTES ?= 10
chaos: $(READY)  ## faults at random with a ledger of every event: make chaos SEED=7 MINUTES=30
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

# Both wait more than they compute, so they run side by side; what each of them prints stays together.
chaos-ci: $(READY)  ## the fixed set of CI: the ledger itself, deaths at exact spots, one seed of everything
	@$(MAKE) --no-print-directory -j2 --output-sync=target chaos-ci-named chaos-ci-random

chaos-ci-named:
	$(BIN)/python -m pytest tests/chaos/test_ledger.py tests/chaos/test_driver.py tests/chaos/test_faults_replica.py \
		-k 'not short_run and not stopped and not clock' $(PYTEST_ARGS)

chaos-ci-random:
	$(BIN)/python -m tests.chaos --seed 2026 --minutes 2.5 --rate 400

kafka: $(READY)  ## a broker, a database and the service over Kafka, for trying out
	@$(BIN)/python -m tests.kafka

BENCH_READY := $(VENV)/.bench
$(BENCH_READY): $(READY) requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

bench: $(BENCH_READY)  ## every figure, beside what else one could use: about half an hour on a quiet machine
	$(BIN)/python -m benchmarks --full

bench-quick: $(BENCH_READY)  ## the same in 2 minutes, with less to trust
	$(BIN)/python -m benchmarks --quick

soak: $(READY)  ## live traffic of 500/s, and what it leaves behind: make soak MINUTES=30 SOAK_ARGS='--record now'
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) $(SOAK_ARGS)

tools: $(READY)  ## what only tests need, into .tools
	@{ $(BIN)/python -m tests.kafka.broker; $(BIN)/python -m tests.kafka.debezium.worker; } & PYTHON=$(PYTHON) sh deploy/tools.sh; wait

lint: $(READY)  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff write the code's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## write the generated pages: settings, metrics, commands, figures
	$(BIN)/python docs/tables.py

screenshots: $(READY)  ## take the pictures of the pages anew, from a service that works: docs/images
	PICTURES=docs/images $(BIN)/python -m pytest -q tests/ops/test_pictures.py

docs-serve: $(READY)  ## show the documentation at http://127.0.0.1:8000, built again at each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

docs-build: $(READY)  ## build the documentation's site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lock: $(READY)  ## pin the dependencies of pyproject.toml anew, with hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
		--no-header --extra embedded --extra msk-iam --extra otel --extra s3 --extra dev --build-deps-for wheel --build-deps-for editable \
		-o requirements.lock pyproject.toml

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .tools build dist site

.PHONY: help setup run test test-unit test-chaos chaos chaos-ci chaos-ci-named chaos-ci-random kafka bench bench-quick soak tools lint format docs screenshots docs-serve docs-build lock clean
