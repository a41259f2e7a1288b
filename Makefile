# Each target sets up .venv itself; it needs Python 3.11 or newer. Another interpreter: make PYTHON=python3.12 demo
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench results clean

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

# What the README's table shows, measured with the embedded files and written into it: docs/evaluation.md.
# FACES and PAIRS are folders of `python -m train.prepare flow`; the rows of one that is not given stay as they are.
DATA ?= $(or $(FACE3D_DATA),../shared/data)
RUNS := out/results
EVAL := $(BIN)/python -m eval

results: .venv/.installed
	rm -rf $(RUNS)
	$(EVAL) aflw2000 --data $(DATA) --json $(RUNS)/aflw2000_gt.json
	$(EVAL) aflw2000 --data $(DATA) --crop detector --json $(RUNS)/aflw2000_detector.json
	$(EVAL) shape --data $(DATA) --json $(RUNS)/shape.json
	$(EVAL) clips-shape --data $(DATA) --json $(RUNS)/clips_shape.json
	$(EVAL) clips-shape --data $(DATA) --together refined --json $(RUNS)/clips_shape_refined.json
	$(EVAL) scan-protocols --data $(DATA) --json $(RUNS)/scan_protocols.json
	$(EVAL) model --data $(DATA) --json $(RUNS)/model.json
	$(EVAL) dlib --data $(DATA) --json $(RUNS)/dlib.json
	$(EVAL) identity --data $(DATA) --json $(RUNS)/identity.json
	$(EVAL) eyes --json $(RUNS)/eyes.json
	$(EVAL) parser --json $(RUNS)/parser.json
	for method in face3d dis; do \
	  for layout in chairs sintel middlebury; do \
	    $(EVAL) flow --data $(DATA) --layout $$layout --method $$method --json $(RUNS)/flow_$${layout}_$$method.json || exit 1; \
	  done; \
	  if [ -n "$(FACES)" ]; then \
	    $(EVAL) flow --data $(FACES) --layout generated --method $$method --json $(RUNS)/flow_generated_$$method.json || exit 1; \
	  fi; \
	  if [ -n "$(PAIRS)" ]; then \
	    $(EVAL) clips --data $(PAIRS) --method $$method --json $(RUNS)/clips_$$method.json || exit 1; \
	  fi; \
	done
	$(EVAL) results $(RUNS)/*.json --store docs/results
	$(EVAL) results docs/results/*.json --readme README.md

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
