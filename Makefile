# For a newcomer: `make quickstart`, `make test-fast` and `make test`. Each makes .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Two threads per core make PyTorch many times slower; tests run single-threaded beside each other.
TEST_THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# A module's tests stay in one process, which makes its fixtures; the order is that of tests/conftest.py, the slow first.
PYTEST := $(TEST_THREADS) $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: venv test test-fast quickstart golden lint types layers unit clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mer-r1 needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,report,judge,dev]'
	touch $@

quickstart: $(STAMP)
	$(BIN)/mer-r1 quickstart $(ARGS)

test: lint types layers unit

# While you work: no process or browser is started, nothing is trained. `slow` in pyproject.toml says what is left out;
# hypothesis tries a fifth of the examples.
test-fast: lint
	$(PYTEST) -m "not slow" --hypothesis-profile fast

lint: $(STAMP)
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check --quiet .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(PYTEST)

# Numbers of the benchmark's own scoring code, outside the repository; needs the network once.
golden: $(STAMP)
	@$(BIN)/python -m tests.make_golden $(ARGS)

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
