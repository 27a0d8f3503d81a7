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

# pip-audit lives in an environment of its own, so that it audits ours and not itself. It ends alike for a finding and
# for a network that is not there: its words tell them apart.
audit: $(VENV)/.dev
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit > $(VENV)/audit.log 2>&1; } || \
	  { echo "pip-audit cannot be installed here; nothing was audited"; exit 0; }; \
	site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	if timeout 300 $(VENV)/audit/bin/pip-audit --progress-spinner off --path "$$site" > $(VENV)/audit.log 2>&1; then :; \
	elif grep -q "known vulnerabilit" $(VENV)/audit.log; then cat $(VENV)/audit.log; exit 1; \
	else echo "pip-audit's service cannot be reached; nothing was audited (see $(VENV)/audit.log)"; fi

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
