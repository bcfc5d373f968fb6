# `make bench` compares a baseline with its SwiftKV counterpart here; `make test` runs the tests.
# Both set up .venv first and are quick when that is done already.

PYTHON ?= python3
VENV   := .venv/bin
DATA   := $(wildcard ../shared/datasets)
RUN    := results/bench

.PHONY: setup bench test check format clean train-embedded

setup:
	@$(PYTHON) scripts/setup.py

bench: setup
	@$(VENV)/swiftkv-bench bench --out $(RUN) $(if $(DATA),--data-dir $(DATA))

test: setup
	@$(VENV)/python -m pytest

check: setup
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy

# About ten minutes on an H100 and far longer without a GPU: docs/embedded.md says how the shipped weights were made.
TRAIN      := results/embedded
TRAIN_ARGS := --steps 64000 --distill-steps 8000
train-embedded: setup
	@$(VENV)/python -m swiftkv_bench.embedded.train --out $(TRAIN) $(TRAIN_ARGS) \
	    --workers $$(($$(nproc) - 1)) $(if $(shell command -v nvidia-smi),--compile)

format: setup
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
