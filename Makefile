# The only entry to building, checking and showing Wherry. Needs Python 3.11 or newer, git and make; brings the rest.
#
#   make demo [SOURCE=DIR] [KEEP=1]   a whole migration on this machine
#   make test                         every test that this machine can run
#   make check                        format, lint, types, import contract, fast tests
#   make bench [ARGS=...]             measure against the peers, an hour or so; ARGS=list tells what there is
#   make chaos                        the long runs with faults and kills
#   make appliance                    the agent as a disk for virtual machines, in build/appliance (as root)
#   make appliance-test               boots it in an emulator, logs in, registers it with a control plane of its own
#   make format                       let the tools put right what they can

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := check
.PHONY: demo test check bench chaos appliance appliance-test format clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest
# One more than most machines of CI have processors, as many tests wait.  The modules come in the order of their folders,
# those of whole processes first, so that no worker ends with a long one while the others have nothing left.
WORKERS ?= 3
SPREAD := -n $(WORKERS) --dist loadscope --no-loadscope-reorder

$(READY): pyproject.toml constraints.txt tools/environment.sh
	@PYTHON="$(PYTHON)" tools/environment.sh .venv
	@touch $@

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST) tests/unit -m "not long" -q $(SPREAD)

test: $(READY)
	$(BIN)/python tools/servers.py install
	$(PYTEST) tests -m "not long" $(SPREAD)

chaos: $(READY)
	$(BIN)/python tools/servers.py install
	$(PYTEST) tests/chaos -v
	$(PYTEST) tests -m long --ignore tests/chaos -v
	$(PYTEST) tests -m hypothesis --hypothesis-profile=thorough $(SPREAD)

demo: $(READY)
	@CI= $(BIN)/python tools/servers.py install azurite
	@azurite="$$($(BIN)/python tools/servers.py path azurite || true)"; \
	exec $(BIN)/wherry demo $${SOURCE:+--source "$$SOURCE"} $${KEEP:+--keep} $${azurite:+--azurite "$$azurite"}

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

appliance: $(READY)
	$(BIN)/python -m tools.appliance.build $(ARGS)

appliance-test: $(READY)
	WHERRY_APPLIANCE=$${WHERRY_APPLIANCE:-build/appliance/wherry-appliance.qcow2} $(PYTEST) tests/appliance -v -s

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
