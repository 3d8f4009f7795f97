# `make` prints what there is. `make demo` and `make test` need nothing before them.

PYTHON ?= python3
WORK ?= $(or $(ORCHESTRATOR_WORK),.orchestrator)
PYTEST_WORKERS ?= 4
ARGS ?=
JOB ?=

BIN := .venv/bin
# More workers than cores: a test of a whole job waits half of its time.
PYTEST = $(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal
unexport PYTHONDONTWRITEBYTECODE # or each run would compile all tests anew
INSTALLED := .venv/.installed
COMPILED := .venv/.compiled

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo fleet examples test test-slow test-all lint reference docs chaos torture plan run doctor submit status cancel retry approve audit recover worker beat gateway lock prices sbom clean job-is-named

help: ## Print this
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  JOB=config/jobs/sotu.toml   WORK=$(WORK)   ARGS='more arguments'   PYTHON=$(PYTHON)"

setup: $(INSTALLED) ## Make .venv and install everything; instant when nothing has changed
	@:

$(INSTALLED): pyproject.toml .ci/setup
	@PYTHON='$(PYTHON)' .ci/setup

# Once, on both cores: or each of the workers would compile each module, all of them at the same time.
$(COMPILED): $(INSTALLED)
	@echo "tests: compiling (half a minute)"
	@printf '%s\n' tests/[a-z]*/ | xargs -n 8 -P 2 $(BIN)/pytest -n 0 -p no:schemathesis -q --collect-only >/dev/null || true
	@touch $@

demo: $(INSTALLED) ## Run a whole job on this machine: no key, no account, no cost
	@$(BIN)/orchestrator demo $(ARGS)

fleet: $(INSTALLED) ## The same on a fleet of this machine's own: a broker, two workers, two beats
	@$(BIN)/python examples/fleet.py $(ARGS)

examples: $(INSTALLED) ## Run the examples for Airflow, Dagster, Prefect, Temporal; installs these (ARGS='-k airflow')
	@EXAMPLES=1 $(BIN)/pytest -n 0 -p no:schemathesis tests/test_examples.py $(ARGS)

test: $(COMPILED) ## Run the tests, but the slow ones, in 4 minutes; ARGS='-k word' chooses
	@$(PYTEST) -p no:schemathesis -m 'not slow' $(ARGS)

test-slow: $(COMPILED) ## Run the slow ones alone: simulation, fault matrix, kills, chaos
	@$(PYTEST) -m slow $(ARGS)

test-all: $(COMPILED) ## Run all tests, in 15 minutes: simulation, fault matrix, kills, chaos, too
	@$(PYTEST) $(ARGS)

lint: $(INSTALLED) ## Check style, format, types and imports
	@status=0; $(BIN)/ruff check . || status=1; $(BIN)/ruff format --check . || status=1; $(BIN)/mypy || status=1; $(BIN)/mypy tests/api/typed_calls.py || status=1; $(BIN)/lint-imports || status=1; exit $$status

reference: $(INSTALLED) ## Write what the code knows into the pages of docs/: commands, keys, columns, errors, the API
	@$(BIN)/python config/make_reference.py

docs: $(INSTALLED) ## Build the docs site into build/site, strictly: a link that leads nowhere is an error
	@$(BIN)/zensical build --clean --strict

chaos: $(INSTALLED) ## Kill, freeze and cut off a fleet under 20 jobs; each must end exact, paid once (ARGS="--ledger postgres")
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

torture: $(INSTALLED) ## Run the heavy measurements of docs/guarantees.md, in 35 minutes (ARGS="--only T5")
	@$(BIN)/python -m benchmarks.torture $(ARGS)

plan: job-is-named $(INSTALLED) ## Say what a job would send and cost; nothing is sent (JOB=)
	@$(BIN)/orchestrator plan '$(JOB)' --work '$(WORK)' $(ARGS)

run: job-is-named $(INSTALLED) ## Run a job, or go on with it (JOB=)
	@$(BIN)/orchestrator run '$(JOB)' --work '$(WORK)' $(ARGS)

doctor: $(INSTALLED) ## Check key, address, proxy, model, work folder and disk, and say what to do ([JOB=])
	@$(BIN)/orchestrator doctor $(if $(JOB),'$(JOB)') --work '$(WORK)' $(ARGS)

submit: job-is-named $(INSTALLED) ## Give a job to the fleet, and return at once (JOB=)
	@$(BIN)/orchestrator submit '$(JOB)' --work '$(WORK)' $(ARGS)

status: $(INSTALLED) ## Say how one job stands, or all of them ([JOB=])
	@$(BIN)/orchestrator status $(if $(JOB),'$(JOB)') --work '$(WORK)' $(ARGS)

cancel: job-is-named $(INSTALLED) ## Stop a job; what is paid for is still collected (JOB=)
	@$(BIN)/orchestrator cancel '$(JOB)' --work '$(WORK)' $(ARGS)

retry: job-is-named $(INSTALLED) ## Try a job's failed rows once more (JOB=)
	@$(BIN)/orchestrator retry '$(JOB)' --work '$(WORK)' $(ARGS)

approve: job-is-named $(INSTALLED) ## Let a job go on that waits for your decision (JOB=)
	@$(BIN)/orchestrator approve '$(JOB)' --work '$(WORK)' $(ARGS)

audit: job-is-named $(INSTALLED) ## Compare the ledger with the files and the bill, and name every difference (JOB=)
	@$(BIN)/orchestrator audit '$(JOB)' --work '$(WORK)' $(ARGS)

recover: $(INSTALLED) ## Make a lost ledger again from the work folder
	@$(BIN)/orchestrator recover --work '$(WORK)' $(ARGS)

worker: $(INSTALLED) ## Work for the fleet until told to stop; ORCHESTRATOR_BROKER_URL, _LEDGER_URL and _WORK say whose
	@ORCHESTRATOR_WORK='$(WORK)' $(BIN)/orchestrator worker $(ARGS)

beat: $(INSTALLED) ## Tell the fleet's workers every few seconds to look what is due; run it in two places
	@ORCHESTRATOR_WORK='$(WORK)' $(BIN)/orchestrator beat $(ARGS)

gateway: $(INSTALLED) ## Serve the Batches API on this machine
	@$(BIN)/orchestrator gateway $(ARGS)

lock: $(INSTALLED) ## Make the image's locks anew, after dependencies have changed (needs uv)
	@config/deploy/lock

prices: $(INSTALLED) ## Write config/prices.json anew from the newest genai-prices (needs the network)
	@$(BIN)/python -m pip install --quiet --upgrade 'genai-prices>=0.2,<1' && $(BIN)/python config/make_prices.py

sbom: $(INSTALLED) ## Write the list of what the image installs to dist/sbom.cdx.json (needs uv)
	@mkdir -p dist && uv tool run --from 'cyclonedx-bom>=7,<8' cyclonedx-py requirements config/deploy/requirements.lock --pyproject pyproject.toml --of JSON -o dist/sbom.cdx.json

clean: ## Remove .venv, caches and build products; never WORK, it holds results that were paid for
	@rm -rf .venv dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -not -path './$(WORK)/*' -prune -exec rm -rf {} +

job-is-named:
	@test -n '$(JOB)' || { echo "usage: make $(firstword $(MAKECMDGOALS)) JOB=config/jobs/sotu.toml [WORK=$(WORK)] [ARGS=...]" >&2; exit 2; }
