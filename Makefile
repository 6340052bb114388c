# `make help` lists what there is. From a clean clone it needs Python >= 3.11 and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
# Test processes at a time. Tests that share a server stay together.
WORKERS ?= 2
# Anything for pytest: make test ARGS="-k echo -x"
ARGS ?=

VENV := .venv
# What reads rows to decide what to write.
REPLICA_TESTS := $(addprefix tests/,descriptors models node outbound recording)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
export HOST PORT

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.run-installed ## Run the demo site at HOST:PORT (127.0.0.1:8000)
	@exec $(BIN)/python -m wsproject.demo

.PHONY: test
test: $(VENV)/.dev-installed ## Run the test suite (WORKERS=2, ARGS="for pytest")
	@exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

.PHONY: test-postgresql
test-postgresql: $(VENV)/.dev-installed ## Run the fast tests on a PostgreSQL of their own
	@exec $(BIN)/python -m tests.infrastructure.postgres \
		$(BIN)/python -m pytest -n $(WORKERS) -m "not browser and not integration" $(ARGS)

.PHONY: test-mariadb
test-mariadb: $(VENV)/.dev-installed $(VENV)/.mysql-installed ## Run the fast tests on a MariaDB of their own (mariadb-server)
	@exec $(BIN)/python -m tests.infrastructure.mariadb \
		$(BIN)/python -m pytest -n $(WORKERS) -m "not browser and not integration" $(ARGS)

.PHONY: test-replica
test-replica: $(VENV)/.dev-installed ## Run tests with a router that reads from a lagging replica
	@TEST_ROUTER=replica $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup \
		-m "not browser and not integration" $(REPLICA_TESTS) $(ARGS)

.PHONY: check
check: check-style check-imports check-types check-django check-docs ## Run every check that isn't a test

.PHONY: check-style
check-style: $(VENV)/.dev-installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: check-imports
check-imports: $(VENV)/.dev-installed
	@$(BIN)/lint-imports

.PHONY: check-types
check-types: $(VENV)/.dev-installed
	@$(BIN)/mypy

.PHONY: check-django
check-django: $(VENV)/.dev-installed
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py check --fail-level WARNING

.PHONY: check-docs
check-docs: $(VENV)/.dev-installed
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

.PHONY: bench
bench: $(VENV)/.dev-installed ## Measure, beside what is to be reached (ARGS="echo outbox")
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: $(VENV)/.dev-installed ## Measure the same in three minutes: it shows a fall, not a percent
	@exec $(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: lock
lock: $(VENV)/.created ## Write requirements.lock anew: the latest versions, with hashes
	@$(PIP) 'uv>=0.8'
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command 'make lock' --output-file requirements.lock requirements.txt

.PHONY: docs
docs: check-docs ## Build the documentation into docs/_build/html
	@echo 'See docs/_build/html/index.html'

# The environment. The stamps are made last: an installation that was interrupted is repeated.

$(VENV)/.created:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo 'This needs Python 3.11 or newer, and $(PYTHON) is' "$$($(PYTHON) --version 2>&1 || true)". \
			'Name another one: make PYTHON=python3.12 …' >&2; \
		exit 1; \
	fi
	@echo 'Making $(VENV) …'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run-installed: $(VENV)/.created requirements.lock
	@echo 'Installing what the demo site needs …'
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.created pyproject.toml
	@echo 'Installing what development needs …'
	@$(PIP) --editable '.[dev]'
	@touch $@

# Of its own: it needs a C compiler, and the headers of libmariadb-dev.
$(VENV)/.mysql-installed: $(VENV)/.created pyproject.toml
	@echo 'Installing the driver for MySQL and MariaDB …'
	@$(PIP) --editable '.[mysql]'
	@touch $@
