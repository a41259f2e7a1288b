# Each target sets up .venv itself; it needs Python 3.11 or newer. Another interpreter: make PYTHON=python3.12 demo
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench clean

demo: .venv/.installed
	$(BIN)/face3d demo -o out/demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest -m "not slow" -n 2

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

# The stamps are newer than what they were made from, so nothing is installed twice.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch .venv/.installed $@
