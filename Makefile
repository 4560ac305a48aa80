# Everything that a person or a machine runs. Needs make, Python 3.11 or newer with venv, and about 1.5 GB for $(VENV).
#   make demo           install, then segment the clip that ships with keymask
#   make serve          install, then serve over HTTP on port 8000
#   make web            build the page from service/web; needs Node 20 and npm. The built page is committed
#   make test           install with the tools, lint, run the whole test suite
#   make test-long      the same with the tests that take long
#   make faults         inject a thousand random faults into each kind of service, a tenth where Ray runs it; hours
#   make lint           check format, ruff, mypy, import directions, hadolint, holes of dependencies, the page
#   make bench          time this machine on the sample clip
#   make docker-smoke   build the container and try it; needs Docker
#   make docker-cluster build the container and try several workers and PostgreSQL, with one killed; needs Docker
#   make lock           resolve the image's dependencies anew and write requirements.lock; needs uv

VENV ?= .venv
BIN := $(VENV)/bin
# Package index of torch. By default scripts/install_torch.py chooses: the CPU build on Linux without an NVIDIA GPU.
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PIP_INSTALL = $(BIN)/python -m pip install --quiet -c constraints.txt
RECIPE := pyproject.toml constraints.txt
PYTHONS := python3.11 python3.12 python3.13 python3
# Processes that share the tests, file by file; the networks of one process use about one core.
TEST_PROCESSES ?= 2
FAULTS ?= 1000
# What the page is built and tested with; nothing without npm.
PAGE_PACKAGES := service/web/node_modules/.package-lock.json

.PHONY: demo serve web test test-long run-tests faults lint bench docker-smoke docker-cluster lock format clean

demo: $(VENV)/.run $(VENV)/.client
	$(BIN)/keymask demo

serve: $(VENV)/.run $(VENV)/.client
	$(BIN)/keymask serve

web: $(PAGE_PACKAGES)
	cd service/web && npm run build

# Type checks take one core for a minute, so lint and tests run side by side.
test: $(VENV)/.readers $(PAGE_PACKAGES)
	$(MAKE) --jobs=2 lint run-tests SELECTED='-m "not long"'

test-long: $(VENV)/.readers $(PAGE_PACKAGES)
	$(MAKE) --jobs=2 lint run-tests

run-tests: $(VENV)/.readers $(PAGE_PACKAGES)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile $(SELECTED)

faults: $(VENV)/.dev
	KEYMASK_FAULTS=$(FAULTS) $(BIN)/python -m pytest -s tests/faults

lint: $(VENV)/.dev $(PAGE_PACKAGES)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --strict client/keymask
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python scripts/check_advisories.py
	$(BIN)/python scripts/check_page.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.run
	$(BIN)/keymask bench

lock: $(BIN)/python
	$(BIN)/python scripts/make_lock.py

docker-smoke docker-cluster: $(VENV)/.client
	$(BIN)/python scripts/$(subst -,_,$@)

$(VENV)/.torch: $(BIN)/python constraints.txt
	$(BIN)/python scripts/install_torch.py $(TORCH_INDEX)
	@touch $@

$(VENV)/.run: $(VENV)/.torch $(RECIPE)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.torch $(RECIPE) client/pyproject.toml
	$(PIP_INSTALL) -e '.[dev]' -e ./client
	@touch $@ $(VENV)/.run

$(VENV)/.readers: $(VENV)/.dev tests/readers.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/readers -r tests/readers.txt
	@touch $@

$(PAGE_PACKAGES): service/web/package-lock.json
	@if command -v npm >/dev/null; then cd service/web && npm ci --no-audit --no-fund; fi

$(VENV)/.client: $(BIN)/python client/pyproject.toml
	$(BIN)/python -m pip install --quiet -e ./client
	@touch $@

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "creating $(VENV) with $$python"; exec $$python -m venv $(VENV); fi; done; \
	echo "keymask needs Python 3.11 or newer with venv; tried: $(PYTHONS)" >&2; exit 1

clean:
	rm -rf $(VENV) demo-out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
