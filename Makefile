# make demo   everything on real images in about a minute, without PyTorch (after installation)
# make test   lint, types, import layers and the whole test suite
# make test-base   the wheel installed alone, without any extra: every command works or says which extra it
#                  needs; and again with the [demo] extra, which runs the demo without PyTorch
# make test-services   what starts servers and kills processes: the stores on a real Milvus and a real S3 server, embedding on a
#                      Ray cluster, and short runs of the three scripts that kill -9 indexing, writing and serving (the two
#                      halves: test-milvus, test-kills)
# make test-integrations   Diptych's models inside MTEB, LangChain, LlamaIndex, Haystack and others, in an environment
#                          of its own that takes what is there from the other one
# make test-lowest   every command with the lowest versions of the dependencies that pyproject.toml allows
# make test-extras   every command with each extra alone, in fresh environments (EXTRAS="serve raw" for some; half an hour)
# make dist   the source archive, the wheel and its bill of materials (CycloneDX), built and checked, in dist
# make test-slow   the heavier runs, marked slow
# make docs   the documentation as a site, in build/docs/site
# make docs-check   builds it anew and reads it: links, anchors, weight, and in Chromium what it asks for and axe
# make audit   known vulnerabilities of what is installed, by pip-audit; says so where its service cannot be reached

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
UV := $(VENV)/release/bin/uv
EXTRAS ?= fit train plot map tokens hub translate captions video sound fast heif raw ocr milvus s3 demo fid client serve mcp
unexport PYTHONDONTWRITEBYTECODE  # the tests start hundreds of processes, which would each compile everything again

.PHONY: demo test lint test-base test-services test-milvus test-kills test-integrations test-lowest test-extras test-slow dist docs docs-check audit clean

demo: $(VENV)/.demo
	@$(BIN)/diptych demo

test: lint
	@$(PYTEST) -n 2 --dist worksteal -m "not slow and not site"

test-integrations: $(VENV)/.integrations
	@DIPTYCH_ALL_INTEGRATIONS=1 OMP_NUM_THREADS=1 $(VENV)/integrations/bin/python -m pytest tests/integrations

test-slow: $(VENV)/.dev
	@$(PYTEST) -m "slow and not server and not site"

test-services: test-milvus test-kills

test-milvus: $(VENV)/.services
	@$(PYTEST) -m server

test-kills: $(VENV)/.dev
	@for run in "kill.py --limit 200 --commit 8" kill_writes.py kill_serve.py; do \
	  $(BIN)/python benchmarks/$$run --kills 5 --longest 2 --slowest-restart 60 > $(VENV)/kill.log 2>&1 || \
	    { echo "benchmarks/$$run:"; cat $(VENV)/kill.log; exit 1; }; \
	done

test-base: $(VENV)/.dev
	@rm -rf $(VENV)/base && mkdir $(VENV)/base
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(VENV)/base .
	@$(BIN)/python -m venv $(VENV)/base/venv
	@$(VENV)/base/venv/bin/python -m pip install --quiet --disable-pip-version-check $(VENV)/base/*.whl
	@cd $(VENV)/base && DIPTYCH_CACHE=cache venv/bin/python $(CURDIR)/tests/every_command.py
	@cd $(VENV)/base && venv/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls *.whl)[demo]"
	@cd $(VENV)/base && DIPTYCH_CACHE=cache venv/bin/python $(CURDIR)/tests/every_command.py

test-lowest: $(VENV)/.release
	@rm -rf $(VENV)/lowest && mkdir $(VENV)/lowest && $(UV) venv --quiet --python $(BIN)/python $(VENV)/lowest/venv
	@$(UV) pip install --quiet --python $(VENV)/lowest/venv --resolution lowest-direct '.[demo,serve]'
	@cd $(VENV)/lowest && DIPTYCH_CACHE=cache venv/bin/python $(CURDIR)/tests/every_command.py

test-extras: $(VENV)/.release
	@for extra in $(EXTRAS); do \
	  rm -rf $(VENV)/extra && mkdir $(VENV)/extra && $(UV) venv --quiet --python $(BIN)/python $(VENV)/extra/venv && \
	  $(UV) pip install --quiet --python $(VENV)/extra/venv ".[$$extra]" && \
	  (cd $(VENV)/extra && DIPTYCH_CACHE=cache venv/bin/python $(CURDIR)/tests/every_command.py) > $(VENV)/extra.log 2>&1 || \
	    { echo "[$$extra]:"; cat $(VENV)/extra.log; exit 1; }; \
	done

dist: $(VENV)/.release
	@$(VENV)/release/bin/python tests/distribution.py dist

docs: $(VENV)/.docs
	@$(BIN)/python -m website.build

docs-check: $(VENV)/.docs
	@$(PYTEST) -n 0 -m site tests/website

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
	@$(PIP) --no-compile -e '.[demo]'  # modules that are never used need no bytecode: 30 MB less
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing Diptych with everything its tests need (once; a few minutes)"
	@$(PIP) -e '.[all,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.integrations: $(VENV)/.dev
	@rm -rf $(VENV)/integrations
	@$(BIN)/python -m venv $(VENV)/integrations
	@$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' > "$$($(VENV)/integrations/bin/python -c 'import site; print(site.getsitepackages()[0])')/parent.pth"
	@$(VENV)/integrations/bin/python -m pip install --quiet --disable-pip-version-check mteb langchain-core llama-index-core haystack-ai
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	@$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.release: Makefile | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/release
	@$(VENV)/release/bin/python -m pip install --quiet --disable-pip-version-check build twine uv cyclonedx-bom
	@touch $@

$(VENV)/.services: $(VENV)/.dev
	@$(PIP) -e '.[milvus-server,s3-server,cluster]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build/docs
