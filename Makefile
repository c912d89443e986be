# `make` lists the targets. Everything is installed into .venv from requirements.lock; nothing else on the machine changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "webhook-router needs Python 3.11 or newer; say which one: make PYTHON=python3.12 …" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY)  ## make the virtual environment

run: $(READY)  ## embedded Postgres, a live feed of sample events, the service; Ctrl-C stops all of it
	@$(BIN)/webhook-router demo

test: $(READY) tools  ## all tests, on real servers; what cannot be had here is skipped, with the reason
	$(BIN)/python -m pytest $(PYTEST_ARGS)

tools:  ## what only the tests of deploy/ need, into .tools
	@PYTHON=$(PYTHON) sh deploy/tools.sh

lint: $(READY)  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff write the code's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## write the tables of settings and metrics into the README
	$(BIN)/python docs/tables.py

lock: $(READY)  ## pin the dependencies of pyproject.toml anew, with hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
		--no-header --extra embedded --extra dev --build-deps-for wheel --build-deps-for editable \
		-o requirements.lock pyproject.toml

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .tools build dist

.PHONY: help setup run test tools lint format docs lock clean
