# Everything happens in .venv at the project's root, from pinned versions.
PYTHON ?= python3
BIN := .venv/bin
# pip writes constraint failures in full; anything else is noise on a first screen.
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo test test-vllm lint lamb clean

demo: .venv/installed
	$(BIN)/isheep run lamb --dir runs/demo

# In the order of the folders: tests/cli holds the longest files, which should not be left for the end.
test: .venv/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# vLLM in an environment of its own: every engine against one contract, and whole runs of lamb on it.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/pytest tests/engines/test_contract.py tests/engines/test_vllm.py tests/cli/test_vllm.py

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

.venv-vllm/installed: pyproject.toml requirements-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip --quiet --disable-pip-version-check install --no-deps --requirement requirements-vllm.txt
	.venv-vllm/bin/pip --quiet --disable-pip-version-check install --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-vllm build runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
