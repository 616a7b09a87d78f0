# Everything that a fresh clone needs: `make demo` and `make test` do all their own set-up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
LIGHT  := $(VENV)/.light
# The data beside the repository, when it is there; `make demo` falls back to the built-in digits otherwise.
DLAFLOW_DATA ?= $(firstword $(wildcard data/cifar10 ../shared/cifar10))
export DLAFLOW_DATA

.PHONY: demo test test-all check docs gallery lock sbom setup clean help

help:
	@echo "make demo      set up and run the walk-through (2 epochs a model), then say where the report is"
	@echo "make test      set up, run scripts/check and the tests"
	@echo "make test-all  the same with the slow sweeps"
	@echo "make docs      set up and build the documentation into site/"
	@echo "make gallery   survey the public architectures of benchmarks/gallery.txt into docs/gallery.md (an hour)"
	@echo "make lock      renew requirements/ after a change in pyproject.toml"
	@echo "make sbom      list what is installed, with licences, in CycloneDX form: dist/sbom.json"
	@echo "make clean     remove the virtual environment and what tools leave behind"

setup: $(READY)

# Every package by its hash (requirements/), then dlaflow itself, which asks no index. torch is the build without CUDA where pip's
# indexes have it, else PyPI's with its libraries. TensorRT-RTX is built with the setuptools that was just installed.
PIP    := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := $(PIP) install --quiet --no-deps --require-hashes

# What the walk-through runs on: 1.3 GB, of which torch is 0.75; the tools of development are another 1.0.
$(LIGHT): pyproject.toml requirements/demo.txt requirements/torch-cpu.txt requirements/torch.txt
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) --requirement requirements/demo.txt
	$(LOCKED) --requirement requirements/torch-cpu.txt 2> /dev/null || $(LOCKED) --requirement requirements/torch.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

$(READY): $(LIGHT) $(wildcard requirements/*.txt)
	$(LOCKED) --requirement requirements/dev.txt
	$(LOCKED) --no-build-isolation --requirement requirements/rtx.txt
	$(PIP) check
	@touch $@

lock: $(READY)
	$(BIN)/python scripts/lock

sbom: $(READY)
	@mkdir -p dist
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json

# Threads that wait must not spin: it costs minutes where two processes share two cores.
demo test test-all: export OMP_WAIT_POLICY = PASSIVE
test test-all: export OMP_NUM_THREADS = 1

demo: $(LIGHT)
	$(BIN)/dlaflow run examples/walkthrough.toml --resume

test: $(READY)
	$(BIN)/python scripts/check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: $(READY)
	$(BIN)/python scripts/check
	$(BIN)/python scripts/generate_verified --check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/python scripts/check

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# All of it anew; what was interrupted goes on with what runs/gallery holds, so remove that after a change of the code. The
# page to sort and search is runs/gallery/gallery.html. Nothing is downloaded but the packages; torchvision may be PyPI's,
# built for CUDA, beside a torch without it.
GALLERY_CORES ?= 2
gallery: $(LIGHT)
	$(LOCKED) --requirement requirements/gallery.txt
	$(BIN)/dlaflow survey $$(cat benchmarks/gallery.txt) --boards orin-nx-16gb,agx-orin-64gb --releases 6.2,5.1.3,7.2.2 \
	  --allow tolerance --cores $(GALLERY_CORES) --out runs/gallery
	cp runs/gallery/gallery.md docs/gallery.md
	cp runs/gallery/results.jsonl docs/gallery.jsonl
	$(BIN)/python benchmarks/gallery_guide.py

clean:
	rm -rf $(VENV) runs site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
