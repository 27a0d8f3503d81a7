# make demo   search real pictures in two minutes (after installation)
# make test   lint, types, import layers and the whole test suite
# make test-slow   the heavier runs, marked slow
# make audit   known vulnerabilities of what is installed, by pip-audit; says so where its service cannot be reached

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint test-slow audit clean

demo: $(VENV)/.demo
	@$(BIN)/diptych demo

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev
	@$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

audit: $(VENV)/.dev
	@.ci/audit $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Diptych needs Python 3.11 or newer; found $$($(PYTHON) --version). Pass PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing Diptych with what the demo needs (once; a few minutes)"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing Diptych with everything its tests need (once; a few minutes)"
	@$(PIP) -e '.[all,dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
