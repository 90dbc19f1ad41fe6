# Two commands matter: `make demo` and `make test`. Each does all its set-up, on a fresh Debian 12 or later, or Ubuntu 24.04
# or later. No line here may ask for Python before infra/setup has run: make expands a recipe whole, before its first line.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
IMAGES := .launchyard/images
SECONDS ?= 600
SEED ?=
EXAMPLES ?= 200
HEADS ?= 5000
WORKERS ?= 5
# functions-framework, which tests start, would take it for the number of its own processes.
unexport WORKERS
# Bytecode is kept whatever the shell says: else each worker, and each process that a test starts, compiles everything anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart=0

.PHONY: help demo test test-slow lint lint-format lint-rules lint-types lint-directions check infra-check bundle up down guest-image docs chaos fuzz bench bench-cold bench-costs bench-export bench-fairness bench-polls lock lock-image setup clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: guest-image ## place a capacity order and an export, boot their machines, fetch the file
	$(BIN)/python -m emulators.demo

test: guest-image ## tests of every kind, in minutes: both emulators, real machines, a sample of crashes and chaos
	$(PYTEST) -m "not slow"

test-slow: guest-image ## all other tests: every crash point, a minute of chaos, real waits
	$(PYTEST) -m slow

lint: setup ## format, lint, types, directions of imports: all at once, whatever fails
	@$(MAKE) --jobs --keep-going --output-sync lint-format lint-rules lint-types lint-directions

lint-format:
	$(BIN)/ruff format --check .

lint-rules:
	$(BIN)/ruff check .

lint-types:
	$(BIN)/mypy

lint-directions:
	$(BIN)/lint-imports

check: lint ## what a change must pass: lint, and the fast tests that need neither emulator nor machine
	$(PYTEST) -q -m "not emulator and not vm and not slow and not terraform and not checkov"

infra-check: setup ## check the deployment without a cloud: real Terraform over stand-in providers, checkov, the bundle
	$(BIN)/python -m tests.infra.tools
	$(PYTEST) -q -m infra

bundle: setup ## write the zip that the functions are deployed from, the same bytes for the same commit; print its SHA-256
	$(BIN)/python -m tools.bundle dist/launchyard-functions.zip

up: guest-image ## start the local stack
	$(BIN)/launchyard up

down: setup ## stop exactly what `make up` started
	$(BIN)/launchyard down

guest-image: setup ## build the guest image, if it is not up to date
	$(BIN)/python -m worker.guest.build --out $(IMAGES)

docs: setup ## write the generated pages anew
	$(BIN)/python -m tools.lifecycle_page docs/lifecycle.md
	$(BIN)/python -m tools.openapi docs/openapi.json
	$(BIN)/python -m tools.deployment infra/terraform/services.json

chaos: setup ## break everything at random for SECONDS, from SEED; count what was lost, doubled or left
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: setup ## send every API EXAMPLES requests of either kind to each route, and HEADS malformed heads; count the answers
	$(BIN)/python -m tests.security.fuzz --examples $(EXAMPLES) --heads $(HEADS) $(if $(SEED),--seed $(SEED))

bench: setup ## claims a second, beside the raw floor
	$(BIN)/python -m bench.claims

bench-cold: setup ## seconds until a function of the bundle answers first, and its peak of memory, beside a floor
	$(BIN)/python -m bench.cold_start

bench-export: setup ## exported entities a second, beside lxml writing the same records, and peaks of memory
	$(BIN)/python -m bench.export

bench-costs: setup ## what one order of each kind takes of what the clouds bill, and what a month costs
	$(BIN)/python -m bench.costs

bench-fairness: setup ## how long orders wait in a lane that another account floods, and in one that none does
	$(BIN)/python -m bench.fairness

bench-polls: setup ## how fast claims that wait get orders, beside two readers of Firestore, and what 500 of them cost
	$(BIN)/python -m bench.polls

lock: ## pin every dependency anew for Python 3.11 and later, with hashes and without addresses (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --all-extras pyproject.toml -o requirements.lock
	uv pip compile --python-version 3.13 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  worker/guest/requirements.in -o worker/guest/requirements.lock

lock-image: setup ## pin the guest image's Debian packages anew, from the suite at present
	$(BIN)/python -m worker.guest.build --lock

setup: ## make .venv ready, and install the Debian packages that are missing; the others do this first
	@infra/setup

clean: ## remove what was built (the stack must be down)
	rm -rf .venv .launchyard dist
