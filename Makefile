# What a developer needs; every target does its own set-up. `make` alone lists the targets.

VENV ?= .venv
PYTHON ?=
ARGS ?=
export VENV PYTHON
# Programs are tested as their users start them.
unexport PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONPATH

bin := $(VENV)/bin
ready := $(VENV)/.ready
code := src bench examples tests
# Tests wait for half of their time: five workers on two CPUs. More than eight only cost start-up here.
cpus := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
workers := --numprocesses=$(shell echo $$(($(cpus) < 4 ? 5 * $(cpus) / 2 : 8))) --dist=worksteal

.PHONY: help demo test lint format bench setup packages tools clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16
	@echo '  ARGS="…" hands words on: make test ARGS="-k pool", make demo ARGS=--quick'

demo: $(ready) ## real commands on real files, with a process each and warm (seconds to a minute)
	$(bin)/warm demo $(ARGS)

test: $(ready)-test packages tools ## all tests; says at the end what was skipped and why
	@status=0; $(bin)/python -m pytest $(workers) $(ARGS) || status=$$?; \
	tests/backends/packages.sh --report; exit $$status

lint: $(ready)-lint ## formatting, rules, types, sizes
	$(bin)/ruff format --check $(code)
	$(bin)/ruff check $(code)
	$(bin)/mypy --strict src bench examples
	$(bin)/python tests/lint/limits.py

format: $(ready)-lint ## let ruff format and mend
	$(bin)/ruff check --fix $(code)
	$(bin)/ruff format $(code)

# The peers of the themes ssh, transfer and coprocess are many packages: installed when one of these is asked for.
bench: $(ready)-bench$(if $(findstring ssh,$(ARGS))$(findstring transfer,$(ARGS)),-ssh) $(if $(findstring coprocess,$(ARGS)),tools) ## measure against peers: ARGS=--quick, ARGS='--only ssh' …
	$(bin)/python -m bench $(ARGS)

setup: $(ready) $(ready)-test $(ready)-lint $(ready)-bench ## all of the above's set-up, and nothing else

tools: $(ready)-test # Python tools that tests run warm and cold; at most five minutes, once
	@tests/setup/tools.sh 300

packages: # Debian packages that tests can use
	@tests/backends/packages.sh

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output build dist
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(ready): pyproject.toml tests/setup/venv.sh
	tests/setup/venv.sh
	@touch $@

$(ready)-test: pyproject.toml tests/setup/venv.sh
	tests/setup/venv.sh test bench
	@touch $@ $(ready)

$(ready)-lint: pyproject.toml tests/setup/venv.sh
	tests/setup/venv.sh lint test bench
	@touch $@ $(ready) $(ready)-test $(ready)-bench

$(ready)-bench: pyproject.toml tests/setup/venv.sh
	tests/setup/venv.sh bench
	@touch $@ $(ready)

$(ready)-bench-ssh: pyproject.toml tests/setup/venv.sh
	tests/setup/venv.sh bench-ssh
	@touch $@ $(ready) $(ready)-bench
