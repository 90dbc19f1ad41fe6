# Two commands matter: `make demo` and `make test`. Each does all its set-up on a fresh Debian 12.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(firstword $(shell command -v python3.11 python3))
BIN := .venv/bin
IMAGES := .launchyard/images
INSTALLED := .venv/installed
SECONDS ?= 600
SEED ?=

.PHONY: help demo test lint check up down guest-image docs chaos bench lock lock-image packages clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(INSTALLED) guest-image ## place a capacity order and an export, boot their machines, fetch the file
	$(BIN)/python -m emulators.demo

test: $(INSTALLED) guest-image ## all tests: both emulators, real machines
	$(BIN)/python -m pytest

lint: $(INSTALLED) ## format, lint, types, directions of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## what a change must pass: lint, and every test that needs neither emulator nor machine
	$(BIN)/python -m pytest -q -m "not emulator and not vm"

up: $(INSTALLED) guest-image ## start the local stack
	$(BIN)/launchyard up

down: $(INSTALLED) ## stop exactly what `make up` started
	$(BIN)/launchyard down

guest-image: $(INSTALLED) packages ## build the guest image, where it is not up to date
	$(BIN)/python -m worker.guest.build --out $(IMAGES)

docs: $(INSTALLED) ## write the generated pages anew
	$(BIN)/python -m shared.lifecycle_document docs/lifecycle.md
	$(BIN)/python -m functions.openapi docs/openapi.json

chaos: $(INSTALLED) ## break everything at random for SECONDS, from SEED; count what was lost, doubled or left
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

bench: $(INSTALLED) ## claims a second, beside the raw floor
	$(BIN)/python -m bench.claims

lock: ## pin every dependency anew, with hashes and without addresses (needs uv)
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --all-extras pyproject.toml -o requirements.lock
	uv pip compile --python-version 3.13 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  worker/guest/requirements.in -o worker/guest/requirements.lock

lock-image: $(INSTALLED) packages ## pin the guest image's Debian packages anew, from the suite at present
	$(BIN)/python -m worker.guest.build --lock

packages:
	@infra/debian/install

$(INSTALLED): requirements.lock pyproject.toml
	@infra/debian/install
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean: ## remove what was built (the stack must be down)
	rm -rf .venv .launchyard
