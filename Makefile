# `make` prints what there is. `make demo` and `make test` need nothing before them.

PYTHON ?= python3
WORK ?= .orchestrator
PYTEST_WORKERS ?= 2
ARGS ?=
JOB ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint plan run status cancel retry gateway clean job-is-named

help: ## Print this
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  JOB=config/jobs/sotu.toml   WORK=$(WORK)   ARGS='more arguments'   PYTHON=$(PYTHON)"

setup: $(INSTALLED) ## Make .venv and install everything; instant when nothing has changed
	@:

$(INSTALLED): pyproject.toml .ci/setup
	@PYTHON='$(PYTHON)' .ci/setup

demo: $(INSTALLED) ## Run a whole job on this machine: no key, no account, no cost
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(INSTALLED) ## Run the tests; ARGS='-k word' chooses
	@$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile $(ARGS)

lint: $(INSTALLED) ## Check style, format and types
	@status=0; $(BIN)/ruff check . || status=1; $(BIN)/ruff format --check . || status=1; $(BIN)/mypy || status=1; exit $$status

plan: job-is-named $(INSTALLED) ## Say what a job would send and cost; nothing is sent (JOB=)
	@$(BIN)/orchestrator plan '$(JOB)' --work '$(WORK)' $(ARGS)

run: job-is-named $(INSTALLED) ## Run a job, or go on with it (JOB=)
	@$(BIN)/orchestrator run '$(JOB)' --work '$(WORK)' $(ARGS)

status: $(INSTALLED) ## Say how one job stands, or all of them ([JOB=])
	@$(BIN)/orchestrator status $(if $(JOB),'$(JOB)') --work '$(WORK)' $(ARGS)

cancel: job-is-named $(INSTALLED) ## Stop a job; what is paid for is still collected (JOB=)
	@$(BIN)/orchestrator cancel '$(JOB)' --work '$(WORK)' $(ARGS)

retry: job-is-named $(INSTALLED) ## Try a job's dead rows once more (JOB=)
	@$(BIN)/orchestrator retry '$(JOB)' --work '$(WORK)' $(ARGS)

gateway: $(INSTALLED) ## Serve the Batches API on this machine
	@$(BIN)/python -m gateway $(ARGS)

clean: ## Remove .venv, caches and build products; never WORK, it holds results that were paid for
	@rm -rf .venv dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -not -path './$(WORK)/*' -prune -exec rm -rf {} +

job-is-named:
	@test -n '$(JOB)' || { echo "usage: make $(firstword $(MAKECMDGOALS)) JOB=config/jobs/sotu.toml [WORK=$(WORK)] [ARGS=...]" >&2; exit 2; }
