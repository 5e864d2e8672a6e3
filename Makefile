# Two commands do everything: `make demo` and `make test`. Nothing has to be there before them but make, git and a
# Python of 3.11 or later. Written for GNU make 3.81, which is what macOS carries, and a POSIX shell.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KEEP ?=

# PYTHON=/path/to/python3.12 takes the place of the search.
CANDIDATES := $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
PIP_INSTALL = $(BIN)/python -m pip install -c constraints.txt

# $(call step,title,command): one line with the seconds it took; what the command printed only if it failed.
define step
@printf '%s ... ' '$(1)'; begun=$$(date +%s); \
if { $(2); } >$(VENV)/step.log 2>&1; then echo "$$(($$(date +%s) - begun)) s"; \
else status=$$?; echo failed; cat $(VENV)/step.log >&2; exit $$status; fi
endef

# $(call timed,name,command): the command's own output, then the time it took, whether it passed or not.
define timed
@begun=$$(date +%s); $(2); status=$$?; echo "$(1): $$(($$(date +%s) - begun)) s"; exit $$status
endef

.PHONY: help
help:
	@echo 'make demo            a service, a fake provider and an official client, on this machine (KEEP=1 keeps serving)'
	@echo 'make test            the whole suite (ARGS="-k name" for a part of it)'
	@echo
	@echo 'make bench           the benchmark table (ARGS=--smoke for a quick look)'
	@echo 'make lint            ruff: rules and formatting; make format repairs what can be repaired'
	@echo 'make types           mypy strict, and whether the public face is fully typed'
	@echo 'make coverage        the suite with branch coverage'
	@echo 'make docs            the documentation, into site/; warnings are errors'
	@echo 'make services        installs the services that tests need (redis-server)'
	@echo 'make soak            minutes of load, which make test leaves out'
	@echo 'make clean           removes everything made here'
	@echo
	@echo 'PYTHON=/path/to/python chooses the Python; without it the newest of 3.11 to 3.13 is taken, then python3.'

# -- the virtual environment ------------------------------------------------------------------------------------------

# The Python is run, not only looked for: a version manager leaves commands on the path that start nothing. On Debian
# a Python without ensurepip makes a broken environment, so that is asked for before.
$(BIN)/python:
	@chosen=; bare=; \
	for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then chosen=$$candidate; break; fi; \
	    bare=$${bare:-$$candidate}; \
	  fi; \
	done; \
	if [ -z "$$chosen" ] && [ -n "$$bare" ]; then \
	  echo "$$bare cannot make virtual environments: its venv module is not installed." >&2; \
	  echo '  Debian, Ubuntu:  apt-get install python3-venv   (as root, or with sudo)' >&2; \
	  exit 1; \
	fi; \
	if [ -z "$$chosen" ]; then \
	  echo "No Python of 3.11 or later was found. Tried: $(CANDIDATES)" >&2; \
	  echo '  Debian 12, Ubuntu 24.04 or later:  apt-get install python3 python3-venv   (as root, or with sudo)' >&2; \
	  echo '  macOS:  brew install python@3.13' >&2; \
	  echo '  Elsewhere:  make PYTHON=/path/to/python3.11 ...' >&2; \
	  exit 1; \
	fi; \
	printf 'Making %s with %s ... ' $(VENV) "$$("$$chosen" -V)"; begun=$$(date +%s); \
	"$$chosen" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; echo "$$(($$(date +%s) - begun)) s"

$(VENV)/.pip: constraints.txt | $(BIN)/python
	$(call step,Installing pip,$(PIP_INSTALL) --upgrade pip)
	@touch $@

# $(VENV)/.ready-X: the package with its extra X, in the versions of constraints.txt. Every extra but demo contains dev,
# and dev contains demo.
$(VENV)/.ready-%: pyproject.toml constraints.txt $(VENV)/.pip
	$(call step,Installing the package with its extra $*,$(PIP_INSTALL) --build-constraint constraints.txt -e '.[$*]')
	@touch $@ $(VENV)/.ready-demo $(if $(filter demo,$*),,$(VENV)/.ready-dev)

.PRECIOUS: $(VENV)/.ready-%

# -- what to run ------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.ready-demo
	$(call timed,demo,$(BIN)/aigw demo $(if $(KEEP),--keep) $(ARGS))

.PHONY: test
test: $(VENV)/.ready-dev
	$(call timed,test,$(BIN)/python -m pytest $(ARGS))

.PHONY: soak
soak: $(VENV)/.ready-dev
	$(call timed,soak,$(BIN)/python -m pytest -m soak $(ARGS))

.PHONY: coverage
coverage: $(VENV)/.ready-dev
	@$(BIN)/coverage erase
	$(call timed,coverage,$(BIN)/coverage run -m pytest $(ARGS) && $(BIN)/coverage combine -q && $(BIN)/coverage report)

.PHONY: bench
bench: $(VENV)/.ready-bench
	$(call timed,bench,$(BIN)/python -m bench $(ARGS))

.PHONY: lint
lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: format
format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: $(VENV)/.ready-types
	$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" basedpyright --ignoreexternal --verifytypes aigw_middleware | grep 'Type completeness score' # informative: see CONTRIBUTING

.PHONY: docs
docs: $(VENV)/.ready-docs
	$(BIN)/python docs/generate.py
	$(call timed,docs,NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict)

.PHONY: services
services:
	@if command -v redis-server >/dev/null; then echo 'redis-server is here.'; \
	elif [ "$$(uname -s)" = Darwin ]; then echo 'Run: brew install redis' >&2; exit 1; \
	elif ! command -v apt-get >/dev/null; then echo 'Install redis-server with the package manager here.' >&2; exit 1; \
	else \
	  root=; [ "$$(id -u)" = 0 ] || root=sudo; \
	  install="$$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends redis-server"; \
	  echo 'Installing redis-server'; \
	  $$install >/dev/null 2>&1 || { $$root apt-get update -qq && $$install >/dev/null; }; \
	fi

.PHONY: clean
clean:
	rm -rf $(VENV) build dist site htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf docs/plugins docs/configuration.md
	find src tests examples bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
