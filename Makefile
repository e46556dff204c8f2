# Short targets, nothing clever. Each sets up what it needs in .venv first.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(shell find src -name '*.py')

# How long test-faults runs, and a page to write its figures into.
SEEDS ?= 50
# How many random requests each operation gets in test-contracts.
EXAMPLES ?= 200
REPORT ?=

.PHONY: install install-dev demo test test-faults test-contracts up lint bench bench-against

RUNTIME := server,torch,files,s3,standalone,tracing
# In a terminal pip shows its progress bars; in a log it tells only what goes wrong.
PIP_INSTALL = $(BIN)/pip install --disable-pip-version-check --constraint constraints.txt \
	$$(test -t 1 || echo --quiet)

# What celeriac needs to run.
install: .venv/installed

# And what tests, linters and benchmarks need beside it.
install-dev: .venv/installed .venv/development

.venv/runtime: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"celeriac needs Python 3.11; name one: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo 'making .venv with $(PYTHON)'
	@$(PYTHON) -m venv .venv
	@echo 'fetching what celeriac runs with, torch above all; this takes minutes, once'
	@$(PIP_INSTALL) '.[$(RUNTIME)]'
	@touch $@

# A plain install, not an editable one: every tool sees the package as its users do.
.venv/installed: .venv/runtime $(SOURCES)
	@echo 'installing celeriac itself'
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --force-reinstall .
	@touch $@

.venv/development: .venv/runtime | .venv/installed
	@echo 'fetching what tests, linters and benchmarks need; this takes minutes, once'
	@$(PIP_INSTALL) '.[$(RUNTIME),dev]'
	@touch $@

demo: install
	$(BIN)/python demo/run.py

test: install-dev
	$(BIN)/python -m pytest

test-faults: install-dev
	CELERIAC_TEST_SEEDS=$(SEEDS) CELERIAC_TEST_REPORT=$(REPORT) \
		$(BIN)/python -m pytest tests/faults --timeout 3600

test-contracts: install-dev
	CELERIAC_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/contract/test_fuzzing.py

up: install
	$(BIN)/python -m api.standalone

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The others live in an environment of their own.
.venv-bench/installed: benchmarks/against/requirements.txt
	@echo 'fetching what celeriac is measured beside; this takes minutes, once'
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --requirement $<
	@touch $@

# How fast; into README and docs: make bench ARGS=--write. A part of celeriac: python -m benchmarks
bench: install-dev .venv-bench/installed
	PYTHONPATH=src:tests $(BIN)/python -m benchmarks.against.speed \
		--python .venv-bench/bin/python $(ARGS)

# What a collection holds after things went wrong; all documents: make bench-against ARGS=--full
bench-against: install-dev .venv-bench/installed
	PYTHONPATH=src:tests $(BIN)/python -m benchmarks.against \
		--python .venv-bench/bin/python $(ARGS)
