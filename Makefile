# Everything happens in .venv at the project's root, from pinned versions.
PYTHON ?= python3
BIN := .venv/bin
# pip writes constraint failures in full; anything else is noise on a first screen.
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo test test-vllm test-code test-judges lint coverage mutants lamb clean

demo: .venv/installed
	$(BIN)/isheep run lamb --dir runs/demo

# In the order of the folders: tests/cli holds the longest files, which should not be left for the end.
test: .venv/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# vLLM in an environment of its own: every engine against one contract, and whole runs of lamb on it.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/pytest tests/engines/test_contract.py tests/engines/test_vllm.py tests/cli/test_vllm.py

# evalplus in an environment of its own, and the sandbox's walls; with ISHEEP_CODE=all every canonical solution of
# HumanEval+ and MBPP+, which takes a quarter of an hour.
test-code: .venv/installed-test .venv-evalplus/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/evaluation/test_sandbox.py tests/evaluation/test_code.py

# AlpacaEval through its own package, which lies in an environment of its own.
test-judges: .venv/installed-test .venv-alpaca/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/evaluation/test_alpaca.py

lint: .venv/installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# Which lines of src the tests run, those in processes of their own included; half an hour.
coverage: .venv/installed-quality
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing

# How many small changes of the code the tests notice (pyproject.toml says of which); the better part of an hour.
mutants: .venv/installed-quality
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

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

.venv/installed-quality: .venv/installed-test
	$(PIP) install --constraint constraints.txt --editable '.[quality]'
	touch $@

.venv-vllm/installed: pyproject.toml requirements-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip --quiet --disable-pip-version-check install --no-deps --requirement requirements-vllm.txt
	.venv-vllm/bin/pip --quiet --disable-pip-version-check install --no-deps --editable .
	touch $@

.venv-alpaca/installed: requirements-alpaca.txt
	$(PYTHON) -m venv .venv-alpaca
	.venv-alpaca/bin/pip --quiet --disable-pip-version-check install --no-deps --requirement requirements-alpaca.txt
	touch $@

.venv-evalplus/installed: requirements-evalplus.txt
	$(PYTHON) -m venv .venv-evalplus
	.venv-evalplus/bin/pip --quiet --disable-pip-version-check install --no-deps --requirement requirements-evalplus.txt
	touch $@

clean:
	rm -rf .venv .venv-vllm .venv-alpaca .venv-evalplus build runs mutants .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
