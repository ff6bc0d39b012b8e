# Everything weft's checkout can do, each in one command. `make` alone lists them.
#
# The virtual environment .venv is made on first use: with what the examples need for `make demo`, with the development
# tools for all else. PYTHON=... chooses the Python, VENV=... the folder.

PYTHON ?= python3
VENV ?= .venv

# -P: the checkout's folders must not be importable by their bare names (`graph`, `train`, ...), only as weft.graph.
RUN = "$(VENV)/bin/python" -P -m
INSTALL = "$(VENV)/bin/python" -m pip install --quiet --disable-pip-version-check
CREATED = $(VENV)/.weft-created
EXAMPLES = $(VENV)/.weft-examples
DEV = $(VENV)/.weft-dev

# What `make bench` measures beside weft (WITH="tf jax" chooses): an environment for each, with what pip is asked to put into it.
PEERS ?= .venv-peers
WITH ?= tf torch jax
BENCH = $(VENV)/.weft-bench
tf = tensorflow-cpu==2.21.*
torch = torch==2.13.* numpy
jax = jax[cpu]==0.10.*

# Type checkers and import-linter find a package by its folder's name, which is the checkout's and may be anything: they
# see it under the name weft through a link, outside of the checkout, because tools that walk it would go in circles.
LINKED = bin=$$(cd "$(VENV)/bin" && pwd) && link=$$(mktemp -d) && trap 'rm -rf "$$link"' EXIT \
	&& ln -s "$(CURDIR)" "$$link/weft" && cd "$$link" &&
MYPY = "$$bin/python" -P -m mypy --config-file weft/pyproject.toml --cache-dir weft/.mypy_cache

FUZZ ?= 10000

.PHONY: help venv demo test fuzz chaos bench bench-cluster check lint format types imports clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## List what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-15s %s\n' "$$name" "$$text"; done

venv: $(DEV) ## Set up .venv with the development tools

demo: $(EXAMPLES) ## Train on handwritten digits: in one process, then on Ray, with the same bits
	"$(VENV)/bin/python" examples/train_digits.py --demo

test: $(DEV) ## Run the tests (ARGS="-k name" chooses)
	$(RUN) pytest -n 2 $(ARGS)

fuzz: $(DEV) ## Feed every parser with changed bytes, FUZZ=10000 of each kind (ARGS="--only plans")
	PYTHONPATH=tests $(RUN) fuzzing --each $(FUZZ) $(ARGS)

# With ARGS it is about some cells of the matrix; else the parsers get a million inputs, over all of them.
chaos: $(DEV) ## Disturb trainings in every way and see how they end, then fuzz (ARGS="--only 'kill ps'"; needs root)
	@PYTHONPATH=tests $(RUN) chaos_matrix $(ARGS); matrix=$$?; \
	$(if $(ARGS),,PYTHONPATH=tests $(RUN) fuzzing --all 1000000 &&) exit $$matrix

bench: $(BENCH) $(WITH:%=$(PEERS)/%/made) ## Measure beside TensorFlow, PyTorch and JAX (ARGS="--only conv")
	"$(VENV)/bin/python" benchmarks/local.py $(foreach peer,$(WITH),--python $(peer)="$(PEERS)/$(peer)/bin/python") $(ARGS)

bench-cluster: $(BENCH) $(PEERS)/tf/made ## Measure a cluster beside TensorFlow's, Ray actors and Flight (ARGS="--hosts --peers=")
	@tf="$(PEERS)/tf/bin/python" && "$(VENV)/bin/python" benchmarks/cluster.py --peers ray,flight \
		$$(test -x "$$tf" && echo --peer-python "$$tf") $(ARGS)

check: $(DEV) ## Everything that is checked without running: lint, format, types, imports
	@$(MAKE) --no-print-directory --keep-going lint types imports

lint: $(DEV) ## Look for mistakes and wrong format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

format: $(DEV) ## Put the code into format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

types: $(DEV) ## Check the types, of the package and then of the tests and the benchmarks
	@$(LINKED) { $(MYPY) -p weft; package=$$?; \
	MYPYPATH="weft/tests:weft/benchmarks:." $(MYPY) --explicit-package-bases weft/tests/*.py weft/benchmarks/*.py && exit $$package; }

imports: $(DEV) ## Check that imports run one way
	@$(LINKED) "$$bin/lint-imports" weft/pyproject.toml --no-cache

clean: ## Remove .venv and everything else that was built
	rm -rf "$(VENV)" "$(PEERS)" build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@for python in "$(PYTHON)" python3.11 python3.12 python3.13 python3.14; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Setting up $(VENV) with $$("$$python" --version)"; \
			"$$python" -m venv --clear "$(VENV)" && touch "$@"; exit $$?; \
		fi; \
	done; \
	echo "weft needs Python 3.11 or newer with its venv module, and '$(PYTHON)' is not that." >&2; \
	echo "Name another one (make PYTHON=/path/to/python3.12 ...), or install it (Debian, Ubuntu: apt install python3-venv)." >&2; \
	exit 1

$(EXAMPLES): pyproject.toml | $(CREATED)
	@echo "Installing weft and what the examples need into $(VENV) (takes a minute)"
	@$(INSTALL) --editable ".[examples]"
	@touch "$@"

$(DEV): pyproject.toml | $(CREATED)
	@echo "Installing weft and its development tools into $(VENV) (takes a minute or two)"
	@$(INSTALL) --editable ".[dev]"
	@touch "$(EXAMPLES)" "$@"

$(BENCH): pyproject.toml | $(CREATED)
	@echo "Installing weft, what the examples need and matplotlib into $(VENV)"
	@$(INSTALL) --editable ".[examples]" matplotlib
	@touch "$@"

# A peer that cannot be had is left out, and tried again next time.
$(PEERS)/%/made: | $(CREATED)
	@echo "Installing $($*) into $(PEERS)/$* (takes a minute or more)"
	@"$(VENV)/bin/python" -m venv --clear "$(PEERS)/$*" \
		&& "$(PEERS)/$*/bin/python" -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) $(patsubst %,"%",$($*)) \
		&& touch "$@" || rm -rf "$(PEERS)/$*"
