# The verbs of the project; `make help` lists them. Every verb sets up what it needs in .venv by itself.
PYTHON ?= python3
PORT   ?= 8000
MINUTES ?= 30
KILLS  ?= 20
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test test-ui lint fix bench doctor conformance soak help clean
.DEFAULT_GOAL := help

run: .venv/.run  ## start the server with the bundled demo model on 127.0.0.1:$(PORT)
	@$(BIN)/saccade serve --model demo --port $(PORT)

test: .venv/.dev  ## lint, type-check and run all tests that need no GPU
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -m "not gpu"

test-ui: .venv/.dev  ## the page in every size, theme and language, with screenshots; needs Chromium
	@rm -rf build/shots
	$(BIN)/pytest tests/webui -s --ui-full --shots build/shots

lint: .venv/.dev  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: .venv/.dev  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.run  ## measure a server with the demo model: first token, gaps, throughput
	$(BIN)/saccade bench --quick

doctor: .venv/.run  ## look whether this machine can serve, and how to mend what is wrong
	@$(BIN)/saccade doctor

conformance: .venv/.run .venv/.conformance  ## run the public test suites and write docs/conformance.md
	.venv/conformance/bin/python conformance/run.py --write

soak: .venv/.dev  ## mixed traffic and kills for a long time: nothing may leak (MINUTES=30, KILLS=20)
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)
	$(BIN)/pytest -q -s tests/backends/test_kills.py --kills $(KILLS)
	$(BIN)/pytest -q tests/media/test_remote.py --urls 100000
	$(BIN)/python benchmarks/stream_cost.py
	$(BIN)/pytest -q -s tests/test_abuse.py --malformed 10000 --aborts 10000 --departures 200
	$(BIN)/python benchmarks/overload.py

clean:  ## remove the virtual environment
	rm -rf .venv

help:  ## this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-12s %s\n", $$1, $$2}' Makefile

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"saccade needs Python 3.11 or newer; this is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	@echo 'Setting up .venv: PyTorch and what else is needed, once. This takes some minutes.'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# torch first and pinned: another package may not choose its version.
.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	@$(PIP) install -q -c constraints.txt torch
	@$(PIP) install -q -c constraints.txt -e .
	@touch $@

# torchvision is the tests' oracle for resizing; without its dependencies it leaves our torch alone.
.venv/.dev: .venv/.run
	@$(PIP) install -q -c constraints.txt -e '.[dev,bench,ui-test]'
	@$(PIP) install -q -c constraints.txt --no-deps torchvision
	@touch $@

# The suites bring plugins of pytest and want no torch: an environment of their own.
.venv/.conformance: .venv/bin/python conformance/requirements.txt
	@$(BIN)/python -m venv .venv/conformance
	@.venv/conformance/bin/python -m pip --disable-pip-version-check install -q -r conformance/requirements.txt
	@touch $@
