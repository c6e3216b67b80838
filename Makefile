# Everything runs in .venv, which is made when it is missing and installed into again when
# pyproject.toml changes. Another interpreter: make clean, then make demo PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-real test test-real bench clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## A router, three simulated workers, a rollout with failures; every answer checked
	$(BIN)/miles-router demo

demo-real: $(VENV)/installed-real  ## The same in small with a real model on the CPU
	$(BIN)/python examples/demo_real.py

test: $(VENV)/installed-test  ## Formatter, linters, types, layers, and all tests but those with a real model
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not loopback and not real"
	$(BIN)/pytest -q -m "loopback and not real"

test-real: $(VENV)/installed-test $(VENV)/installed-real  ## The tests with a real model
	$(BIN)/pytest -q -m real

bench: $(VENV)/installed-test  ## What relaying, the token cache and the terminal UI cost, in memory and time
	$(BIN)/python -m tests.bench.relay
	$(BIN)/python -m tests.bench.token_cache
	$(BIN)/python -m tests.bench.terminal_ui

clean:  ## Remove .venv and everything that tools leave behind
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@ $(VENV)/installed

# Where pip is told of CPU builds of torch (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), it prefers those.
$(VENV)/installed-real: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[real]'
	touch $@ $(VENV)/installed
