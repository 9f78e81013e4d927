# Nothing but Python ≥ 3.11 is needed: each target sets up .venv itself, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# make test DATA=DIR also runs the tests that need DIR/biq2021 and DIR/score_files.
DATA ?=

.PHONY: quickstart test lint clean

quickstart: $(READY)
	$(BIN)/rali quickstart $(PICTURES)

test: $(READY) lint
	RALI_DATA="$(DATA)" $(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(if $(DATA),--cov-fail-under=85)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The install is repeated only when pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rali needs Python 3.11 or newer; type: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info
