# Everything a person or CI runs. `make` alone explains itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KERNELS := $(wildcard sampler/kernels/cpu/*.cpp sampler/kernels/cpu/*.h sampler/kernels/cpu/build_hook.py)
SOURCES := lsp_server model sampler training tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types bench fix vsix editors

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml $(KERNELS)
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or run make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed, e.g. make setup PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV) and installing the project into it; PyTorch alone can take minutes."
	@$(PYTHON) -m venv $(VENV) || { echo "The venv could not be created; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## create the environment and fetch the weights (once, about 500 MB)
	@$(BIN)/seed-lsp fetch

demo: setup ## show completions of real files, streamed block by block
	@$(BIN)/seed-lsp demo

test: setup ## run all tests, also those with the real weights
	$(BIN)/pytest -m "not gpu"

lint: $(STAMP) ## check format, style and who imports whom
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports

types: $(STAMP) ## check types
	$(BIN)/mypy

bench: setup ## measure; each bench ends with one JSON line
	@for bench in tests/bench/bench_*.py; do [ -e "$$bench" ] || continue; echo "$$bench"; $(BIN)/python "$$bench" || exit 1; done

fix: $(STAMP) ## format the code and repair what can be repaired
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

vsix: export PATH := $(CURDIR)/$(BIN):$(PATH)
vsix: $(STAMP) ## build the VS Code extension
	rm -rf editors/vscode/dist
	$(BIN)/python -m hatchling build -t sdist -d editors/vscode/dist/server
	cd editors/vscode && npm ci && npm run check && npm run build && npm run package
	@ls editors/vscode/dist/*.vsix

editors: vsix ## install the VS Code that its tests run in (once, about 1 GB)
	editors/vscode/e2e/install.sh
