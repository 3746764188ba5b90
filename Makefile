# Two commands need nothing but Python: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq
# Hundreds of tests start a process of their own: none of them should compile the package again.
export PYTHONDONTWRITEBYTECODE :=
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links pyproject.toml

.PHONY: docs demo test explore lint types check crash parity bench lock clean

demo: $(RUNTIME)
	@$(BIN)/python examples/demo/run.py

test: $(DEVELOPMENT)
	@$(BIN)/python -m pytest

# What takes too long for every change: hundreds of kills, and a text of 1 GB.
crash: $(DEVELOPMENT)
	@$(BIN)/python -m pytest -m slow --timeout 7200

# The properties with examples that were never tried, again and again: what fails becomes an example of its test.
explore: $(DEVELOPMENT)
	@for round in 1 2 3 4 5; do SEMEME_EXPLORE=1 $(BIN)/python -m pytest -m "hypothesis and not slow" || exit 1; done

lint: $(DEVELOPMENT)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEVELOPMENT)
	@$(BIN)/mypy

check: test lint types

# After a change of a command: the pages that are made from the code.
docs: $(DEVELOPMENT)
	@$(BIN)/python docs/make.py

# Live against sentence-transformers: needs the torch extra, in an environment of its own.
parity: $(RUNTIME)
	@$(BIN)/python benchmarks/parity.py

bench: $(RUNTIME)
	@for name in embed ingest start retrieval hybrid mixed vectors filters; do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf $(VENV) .demo .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sememe needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(BIN)/python pyproject.toml requirements/runtime.lock
	@echo "Setting up $(VENV) …"
	@$(PIP) --require-hashes --requirement requirements/runtime.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(DEVELOPMENT): $(RUNTIME) requirements/development.lock
	@$(PIP) --require-hashes --requirement requirements/development.lock
	@touch $@

# After a change of the dependencies in pyproject.toml; needs uv.
lock:
	$(UV_COMPILE) --group test --group lint --output-file requirements/development.lock
	$(UV_COMPILE) --constraint requirements/development.lock --output-file requirements/runtime.lock
