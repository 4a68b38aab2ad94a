# Everything happens in .venv: nothing outside this folder is installed or changed.
#   make demo ARGS=--once        make test ARGS="tests/unit -x"        make PYTHON=python3.12 test

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 3
# Most fault tests wait: for an election, a lease, a timeout. Files run side by side, each with servers of its own.
PARALLEL ?= -n 6 --dist loadfile --no-loadscope-reorder
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test compiled slow simulate clients lint types style lock sbom bench soak clean

# What is in the image, with hashes. No index is named: pip has one of its own.
COMPILE := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
LOCKS := deploy/lock

help:  ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## a MongoDB, a Redis and syncd between them, with real data (ARGS=--once ends by itself)
	$(BIN)/syncd demo $(ARGS)

test: $(INSTALLED)  ## lint, then all tests, against real servers that come with the install
	@$(MAKE) --no-print-directory -j 2 types compiled style
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

# Each process that runs tests reads all of them: what Python makes of them is made once, before, and not six times. An
# error in a test is shown by the run itself.
compiled: $(INSTALLED)
	@test -d .cache/bytecode || $(BIN)/python -m pytest --collect-only -q -q >/dev/null 2>&1 || true

slow: lint  ## all tests at half the speed of this machine, three times (ROUNDS=1 for once)
	$(BIN)/python -m tests.support.broken.quota --speed 0.5 --rounds $(ROUNDS) -- \
		$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

simulate: $(INSTALLED)  ## the lanes over models of both stores, one random schedule a seed (ARGS="--seeds 100000")
	$(BIN)/python -m tests.simulation $(ARGS)

clients: $(INSTALLED)  ## what the docs say of LangChain, LlamaIndex and redis-om, with these packages, in .cache/clients
	for group in clients clients-llamaindex; do \
		$(BIN)/python -m uv venv --quiet --allow-existing --python $(BIN)/python .cache/clients/$$group && \
		$(BIN)/python -m uv pip install --quiet --python .cache/clients/$$group/bin/python --group $$group || exit 1; \
	done
	$(BIN)/python -m pytest tests/clients $(ARGS)

lint: types style  ## ruff, mypy --strict, and whether the generated docs are those of the code

types: $(INSTALLED)
	$(BIN)/mypy

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/generate.py --check

lock: $(INSTALLED)  ## deploy/lock: what the image installs, by hash (ARGS=--upgrade for newer versions)
	$(COMPILE) pyproject.toml $(ARGS) -o $(LOCKS)/requirements.txt
	$(COMPILE) pyproject.toml --extra dask $(ARGS) -o $(LOCKS)/requirements-dask.txt
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' | \
		$(COMPILE) - $(ARGS) -o $(LOCKS)/build.txt

sbom: $(INSTALLED)  ## dist/syncd.cdx.json: a bill of materials of the image (CycloneDX), out of the lock file
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python cyclonedx-bom
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements $(LOCKS)/requirements.txt --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file dist/syncd.cdx.json

bench: $(INSTALLED)  ## syncd against its targets, its peers and the limit of the servers (ARGS="--only backlog,cpu")
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(INSTALLED)  ## minutes of faults under load, then every document compared (ARGS="--minutes 20 --seed 7")
	$(BIN)/python -m tests.soak $(ARGS)

clean:  ## removes .venv and every cache
	rm -rf $(VENV) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "syncd needs Python 3.11 or newer: install it, or name one with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "this Python cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv installs in seconds what takes pip a minute. Where uv, or the index that it uses, cannot be had, pip does it.
$(INSTALLED): pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	{ $(BIN)/python -m pip install --quiet uv && \
		$(BIN)/python -m uv pip install --python $(BIN)/python -e '.[demo]' --group dev; } || \
	{ $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
		$(BIN)/python -m pip install -e '.[demo]' --group dev; }
	@touch $@
