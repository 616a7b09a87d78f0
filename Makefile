# Everything that a fresh clone needs: `make demo` and `make test` do all their own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
# The data beside the repository, when it is there; `make demo` falls back to the built-in digits otherwise.
DLAFLOW_DATA ?= $(firstword $(wildcard data/cifar10 ../shared/cifar10))
export DLAFLOW_DATA

.PHONY: demo test test-all check docs setup clean help

help:
	@echo "make demo      set up and run the walk-through (2 epochs a model), then say where the report is"
	@echo "make test      set up, run scripts/check and the tests"
	@echo "make test-all  the same with the slow sweeps"
	@echo "make docs      set up and build the documentation into site/"
	@echo "make clean     remove the virtual environment and what tools leave behind"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

# Threads that wait must not spin: it costs minutes where two processes share two cores.
demo test test-all: export OMP_WAIT_POLICY = PASSIVE
test test-all: export OMP_NUM_THREADS = 1

demo: $(STAMP)
	$(BIN)/dlaflow run examples/walkthrough.toml --resume

test: $(STAMP)
	$(BIN)/python scripts/check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: $(STAMP)
	$(BIN)/python scripts/check
	$(BIN)/python scripts/generate_verified --check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/python scripts/check

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
