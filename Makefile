# `make demo` explains a photograph, `make test` checks the whole project; both set up what they need first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-sweeps test-full test-oldest coverage lint build clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Pellucid needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/pellucid compare sample:cat --out demo

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
	rm -rf .venv .venv-oldest demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
