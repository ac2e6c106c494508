# Everything happens in .venv at the project's root, from pinned versions.
PYTHON ?= python3
BIN := .venv/bin
# pip writes constraint failures in full; anything else is noise on a first screen.
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo test lint lamb clean

demo: .venv/installed
	$(BIN)/isheep run lamb --dir runs/demo

# In the order of the folders: tests/cli holds the longest files, which should not be left for the end.
test: .venv/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Pretrains the embedded model from nothing, over the shipped weights; under an hour on two cores.
lamb: .venv/installed
	$(BIN)/python -m isheep.lamb.build --to src/isheep/lamb/model

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
