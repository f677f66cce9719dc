# `make demo` explains a photograph, `make test` checks the whole project; both set up what they need first.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location
# `make setup TORCH=cpu` takes PyTorch's wheels for machines without a GPU, in the version that its index has.
ifeq ($(TORCH),cpu)
SIZE := PyTorch comes without CUDA libraries.
else
SIZE := It gets about 6.6 GB large on Linux, most of it CUDA libraries: TORCH=cpu leaves them out.
endif

.PHONY: setup demo docs test test-sweeps test-full test-oldest coverage lint build clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Pellucid needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up .venv, which takes some minutes. $(SIZE)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --upgrade pip
ifeq ($(TORCH),cpu)
	@grep -vE '^(torch|torchvision|triton|nvidia-[^=]*|cuda-[^=]*)==' constraints.txt > .venv/constraints.txt
	@$(INSTALL) --index-url https://download.pytorch.org/whl/cpu torch torchvision
	@$(INSTALL) --constraint .venv/constraints.txt --editable '.[dev]'
else
	@$(INSTALL) --constraint constraints.txt --editable '.[dev]'
endif
	@touch $@

demo: setup
	@$(BIN)/pellucid compare sample:astronaut --out demo
	@echo
	@echo "Look at demo/compare.png, and open demo/report.html in a browser: maps enlarge on click."
	@echo "Then try:"
	@echo "  .venv/bin/pellucid explain sample:coffee -m layer-cam -t espresso"
	@echo "  .venv/bin/pellucid methods --family cam"
	@echo "  .venv/bin/pellucid doctor"

# The documentation site, in site/: warnings are fatal. It opens from the disk.
docs: setup
	$(BIN)/python docs/build.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

test: lint
	$(PYTEST)

# The widest sweeps, which `make test` leaves out: every method on every network, and networks of full width.
test-sweeps: setup
	$(PYTEST) -m full

# Everything: what CI runs.
test-full: test
	$(MAKE) test-sweeps

coverage: setup
	$(PYTEST) --cov=pellucid --cov-report=term:skip-covered --cov-fail-under=95

# With the oldest versions that pyproject.toml allows, in an environment of its own.
test-oldest: .venv-oldest/ready
	OMP_NUM_THREADS=1 .venv-oldest/bin/pytest --numprocesses 2 --dist worksteal

.venv-oldest/ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[dev]'
	@touch $@

# The sdist and the wheel, in dist/.
build: setup
	rm -rf dist
	$(BIN)/hatchling build

clean:
	rm -rf .venv .venv-oldest demo dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
