# make quickstart: from an empty machine to the first figure. make test: the fast tests; make test-slow: the others.
# Needs Python >= 3.10 only.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart install install-dev install-docs test test-slow test-all docs soak lint nulls bench clean

quickstart: install
	$(BIN)/rlhf-lab experiment=quickstart
	$(BIN)/rlhf-figures quickstart
	@echo
	@echo "the figure, its numbers, fits and claims: figures/    everything made: store/"
	@echo "what was run: $(BIN)/rlhf-runs    one run's answers: $(BIN)/rlhf-runs show KEY"

install: .venv/installed
install-dev: .venv/installed-dev
install-docs: .venv/installed-docs

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rlhf_lab needs Python >= 3.10: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (minutes the first time)"
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (minutes the first time)"
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/installed

.venv/installed-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: install-dev  # minutes
	$(PYTEST) -m "not slow"

test-slow: install-dev  # half an hour
	$(PYTEST) -m slow

test-all: install-dev
	$(PYTEST)

docs: install-docs  # the site of docs/, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

soak: install-dev  # 40 kills at random moments, and what they did
	RLHF_LAB_KILLS=40 $(BIN)/python -m pytest tests/test_kills.py -s

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

nulls: install
	$(BIN)/python -m analysis.worlds.nulls

bench: install-dev
	@for file in $$(grep -l __main__ benchmarks/*.py); do \
	  echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

clean:
	rm -rf dist build site .pytest_cache .ruff_cache .hypothesis
