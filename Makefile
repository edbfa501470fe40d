# `make` lists the targets. Variables: PYTHON (the interpreter that .venv is made with), ARGS (more
# options for `nas search`) and PYTEST_ARGS (more options for pytest, for example `-n 0`).

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
# Modules are compiled when first imported: compiling all of torch and ray takes longer than unpacking them.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile -q -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help search test test-slow lint lint-style lint-format lint-types lint-layers format wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

search: .venv/.installed ## set up, then search for models for a Jetson Nano within 20 ms
	$(BIN)/nas search --device jetson-nano --budget 20ms $(ARGS)

test: .venv/.installed-dev ## set up, then run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: .venv/.installed-dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout 1800 $(PYTEST_ARGS)

lint: lint-style lint-format lint-types lint-layers ## check style, format, types and layers

lint-style: .venv/.installed-dev
	$(BIN)/ruff check .

lint-format: .venv/.installed-dev
	$(BIN)/ruff format --check .

lint-types: .venv/.installed-dev
	$(BIN)/mypy

lint-layers: .venv/.installed-dev
	$(BIN)/lint-imports

format: .venv/.installed-dev ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: .venv/.installed-dev ## build the source archive and the wheel into dist/
	$(BIN)/python -m build

clean: ## remove .venv, what was built and the tools' caches (runs stay)
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find nas tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment: made once, installed again when a stamp is older than what it was installed from.

.venv/.created:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
		echo "nas needs Python 3.10 or newer: $(PYTHON) was not found; try: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "nas needs Python 3.10 or newer: $(PYTHON) is $$("$(PYTHON)" --version 2>&1);" \
			"try: make PYTHON=python3.12" >&2; \
		exit 1; }
	"$(PYTHON)" -m venv .venv
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/.created
	$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/.created
	$(INSTALL) -e '.[dev]'
	@touch .venv/.installed $@
