# Everything happens in .venv at the project's root, from pinned versions and hashed files.
PYTHON ?= python3
BIN := .venv/bin
# pip writes constraint failures in full; anything else is noise on a first screen.
PIP := $(BIN)/pip --quiet --disable-pip-version-check
# Nothing but files whose hashes stand in a lock.
HASHED := bin/pip --quiet --disable-pip-version-check install --require-hashes --no-deps
LOCKED := .venv/$(HASHED) --no-build-isolation --use-pep517
# The build for CPUs where pip finds it, else the public one with the CUDA libraries that it names, which have no hashes.
torch = $(1)/$(HASHED) --requirement requirements/torch-cpu.txt 2> /dev/null || \
	{ $(1)/$(HASHED) --requirement requirements/torch.txt && \
	$(1)/bin/pip --quiet --disable-pip-version-check install --constraint constraints.txt torch; }

.PHONY: demo test test-vllm test-code test-judges faults soak lint coverage mutants docs lamb lock licences clean

demo: .venv/installed
	$(BIN)/isheep run lamb --dir runs/demo

# In the order of the folders: tests/cli holds the longest files, which should not be left for the end.
test: .venv/installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# vLLM in an environment of its own: every engine against one contract, and whole runs of lamb on it.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/engines/test_contract.py \
	    tests/cli/test_vllm.py tests/engines/test_vllm.py tests/export/test_vllm.py

# evalplus in an environment of its own, and the sandbox's walls; with ISHEEP_CODE=all every canonical solution of
# HumanEval+ and MBPP+, which takes a quarter of an hour.
test-code: .venv/installed-test .venv-evalplus/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/evaluation/test_sandbox.py tests/evaluation/test_code.py

# AlpacaEval through its own package, which lies in an environment of its own.
test-judges: .venv/installed-test .venv-alpaca/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/evaluation/test_alpaca.py

# Some 250 faults put into real runs, and what came of each: half an hour. FAULTS=--bounded tries a few of each kind.
faults: .venv/installed-test
	$(BIN)/python -m tests.faults $(FAULTS)

# 50,000 records through every stage, killed every few seconds, and once more undisturbed; ten minutes and more.
soak: .venv/installed-test
	$(BIN)/python -m tests.faults.soak

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

# The documentation as a site, in site/; without a network, and any warning is an error.
docs: .venv/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Pretrains the embedded model from nothing, over the shipped weights; under an hour on two cores.
lamb: .venv/installed
	$(BIN)/python -m isheep.lamb.build --to src/isheep/lamb/model

# The locks are renewed after a change of constraints.txt or pyproject.toml; docs/supply-chain.md says how.
lock: .venv/installed-quality
	$(BIN)/python requirements/lock.py

licences: .venv/installed-quality
	$(BIN)/python requirements/licences.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

# What builds comes first, so that packages without a wheel are built with it and fetch nothing.
.venv/installed: pyproject.toml $(wildcard requirements/*.txt) | .venv/bin/python
	$(LOCKED) --requirement requirements/build.txt
	$(LOCKED) --requirement requirements/base.txt
	$(call torch,.venv)
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-test: .venv/installed requirements/test.txt
	$(LOCKED) --requirement requirements/test.txt
	touch $@

.venv/installed-quality: .venv/installed-test requirements/quality.txt
	$(LOCKED) --requirement requirements/quality.txt
	touch $@

.venv-vllm/installed: pyproject.toml requirements-vllm.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/$(HASHED) --requirement requirements-vllm.txt
	$(call torch,.venv-vllm)
	.venv-vllm/bin/pip --quiet --disable-pip-version-check install --no-deps --editable .
	touch $@

.venv-alpaca/installed: requirements-alpaca.txt
	$(PYTHON) -m venv .venv-alpaca
	.venv-alpaca/$(HASHED) --requirement requirements-alpaca.txt
	touch $@

.venv-evalplus/installed: requirements-evalplus.txt
	$(PYTHON) -m venv .venv-evalplus
	.venv-evalplus/$(HASHED) --requirement requirements-evalplus.txt
	touch $@

clean:
	rm -rf .venv .venv-vllm .venv-alpaca .venv-evalplus build site runs mutants .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
