# Two commands do everything on a machine with Python (3.10 or newer), git and make:
#   make demo   sets up and runs the whole story on the embedded world, nine to ten minutes of processor time
#   make test   sets up and runs the tests
# And `make docs` builds the pages in docs/_build/html.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/demo

.PHONY: demo test lint format docs bench package clean

demo: $(VENV)/.installed
	$(BIN)/dissect demo --out $(OUT)

# Two workers, a file in each; all files that look at the demo share one. One thread is enough for models as small.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.installed
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/sweeps.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/restoration.py
	$(BIN)/python benchmarks/generation.py

# Wheel and sdist, and whether the wheel works alone: in an empty environment, outside the clone.
package: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet build
	rm -rf dist && $(BIN)/python -m build --outdir dist .
	PYTHON=$(PYTHON) sh .ci/try_wheel dist/*.whl

# torch comes first and alone: asked for together with the rest, pip may choose another build of several gigabytes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache docs/_build docs/api/generated docs/notebooks
