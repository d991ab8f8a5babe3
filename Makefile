# make help lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_VENV := .venv-bench
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo train test test-lowest torture audit lint format docs constraints tensorboard bench bench-full bench-env clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo "  PYTHON=python3.12 picks the interpreter (3.11 to 3.13); ARGS=\"key=value ...\" goes to train.py"

install: $(INSTALLED) ## make .venv and install the tested versions into it

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed; PYTHON= names one: make install PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(INSTALLED) ## about a minute, no download: an untrained network on images that the project draws
	$(BIN)/python train.py experiment=demo $(ARGS)

train: $(INSTALLED) ## the article: a pretrained ResNet-18 on ants and bees
	$(BIN)/python train.py $(ARGS)

test: $(INSTALLED) ## all tests; those on the real data where HYMENOPTERA_TEST_ARCHIVE names the archive
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

test-lowest: ## the tests with the lowest versions that pyproject.toml admits, in .venv-lowest
	@test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint $(VENV)-lowest/constraints.txt --editable ".[dev]"
	$(VENV)-lowest/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

torture: $(INSTALLED) ## minutes: every fault that is injected, and a table of what held
	FUZZ=1 $(BIN)/python -m pytest -m "torture or fault" --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

audit: $(INSTALLED) ## known vulnerabilities of what is installed, from the Python advisory database
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && \
	  $(VENV)-audit/bin/python -m pip install --quiet pip-audit; }
	$(BIN)/python -m pip list --format=freeze --exclude-editable > $(VENV)-audit/installed.txt
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip -r $(VENV)-audit/installed.txt

lint: $(INSTALLED) ## ruff, format, types and the direction of imports, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(INSTALLED) ## write docs/configuration.md from conf/ and the schema
	$(BIN)/python docs/configuration.py

constraints: $(INSTALLED) ## write constraints.txt from what is installed
	{ sed -n 1p constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt

format: $(INSTALLED) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tensorboard: $(INSTALLED) ## all runs side by side, in a browser
	$(BIN)/tensorboard --logdir runs $(ARGS)

bench: $(INSTALLED) ## about two minutes: start-up, steps, and the head beside a plain loop
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/step_overhead.py
	$(BIN)/python benchmarks/compare.py $(ARGS)

bench-full: $(INSTALLED) ## an hour or more: whole runs beside a plain loop, fastai and timm
	$(BIN)/python benchmarks/step_overhead.py --full
	$(BIN)/python benchmarks/compare.py --full $(ARGS)

bench-env: $(BENCH_VENV)/.installed ## .venv-bench, with fastai and timm, for bench-full

$(BENCH_VENV)/.installed: benchmarks/requirements.txt constraints.txt
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --constraint constraints.txt -r benchmarks/requirements.txt
	@touch $@

clean: ## remove the environments and caches; data/ and runs/ stay
	rm -rf $(VENV) $(VENV)-audit $(VENV)-lowest $(BENCH_VENV) .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
