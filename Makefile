# Every target does its own set-up: Python 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE ?= $(HOME)/.cache/dict-rate-limit
UV := $(CACHE)/uv/bin/uv
READY := $(VENV)/.ready
CASES ?= 10000
SEED ?= 1
MINUTES ?= 60
# Many tests wait for servers: twice as many as there are cores.
WORKERS ?= $(shell echo $$((2 * $$(nproc))))
# A file's tests stay together: what a file prepares it prepares once.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
COVERAGE = --cov --cov-report=term-missing:skip-covered --cov-fail-under=90
NEWEST = $(firstword $(foreach minor,14 13 12,$(foreach python,python3.$(minor) $(wildcard $(HOME)/.pyenv/versions/3.$(minor).*/bin/python3),$(shell $(python) -c 'print("$(python)")' 2>/dev/null))))

.DEFAULT_GOAL := help
.PHONY: help demo prepare test test-postgres test-newest soak check lint types layers format stubs differential mutants bench wheel sbom audit clean

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(UV):
	$(PYTHON) -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet 'uv>=0.11'

$(READY): pyproject.toml uv.lock | $(UV)
	UV_PYTHON_DOWNLOADS=never $(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

demo: $(READY) ## the whole system on this machine; Ctrl-C ends it (ARGS='--duration 60s')
	$(BIN)/dict-rate-limit demo $(ARGS)

test: $(READY) ## all tests, with coverage; or some (ARGS='-k lease')
	$(BIN)/coverage erase
	$(BIN)/pytest $(PARALLEL) $(or $(ARGS),$(COVERAGE))

# Every statement of the store runs in these; what else uses it would only run them again.
STORE = -m 'postgres and not broker' -k 'rebuilt_exactly or not (test_history_backtest or test_history_capture)'
test-postgres: $(READY) ## the tests of the store alone (TEST_POSTGRES=debian15)
	$(BIN)/pytest -q $(PARALLEL) $(STORE) tests/integration

test-newest: $(READY) ## the unit tests on the newest Python that is there
ifeq ($(NEWEST),)
	@echo 'no Python newer than 3.11 is here: nothing to try'
else
	UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=$(VENV)-newest $(UV) sync --frozen --quiet --python $(NEWEST)
	$(VENV)-newest/bin/python --version
	$(VENV)-newest/bin/pytest -q $(PARALLEL) tests/unit
endif

soak: $(READY) ## kills and outages for MINUTES, decided by SEED (MINUTES=60 SEED=1)
	SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) $(BIN)/pytest -v -s tests/e2e/test_crashes.py tests/e2e/test_outages.py

prepare: $(READY) ## fetches and builds once what the tests need: Apache Pulsar, Prometheus 3, the image's base
	$(BIN)/python -m tests.support.broker
	$(BIN)/python -m tests.support.releases
	$(BIN)/python -m tests.support.image

check: lint types layers test ## all that CI asks

lint: $(READY) ## ruff (rules and format), hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: $(READY) ## mypy, strict
	$(BIN)/mypy

layers: $(READY) ## the architecture's layers
	$(BIN)/lint-imports

format: $(READY) ## lay the code out
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

stubs: $(READY) ## gRPC stubs from protos/
	$(BIN)/python -m grpc_tools.protoc -I exporter/bridge/stubs=protos/bacen/dict/v2 \
		--python_out=. --pyi_out=. --grpc_python_out=. exporter/bridge/stubs/rate_limit.proto
	$(BIN)/python -m grpc_tools.protoc -I exporter/feed/stubs=protos/dict_rate_limit/v1 \
		--python_out=. --pyi_out=. --grpc_python_out=. exporter/feed/stubs/feed.proto

differential: $(READY) ## our engine against promtool on random rules (CASES=10000 SEED=1)
	DIFFERENTIAL_CASES=$(CASES) DIFFERENTIAL_SEED=$(SEED) $(BIN)/pytest -q -s tests/differential/test_rules.py tests/differential/test_grammar.py

ONLY ?= exporter
JOBS ?= 2
mutants: $(READY) ## small faults that no test notices (ONLY=exporter/alerts JOBS=2)
	$(BIN)/python -m tests.mutants --jobs $(JOBS) $(ONLY)

bench: $(READY) ## benchmarks, as ratios in one run
	$(BIN)/python -m benchmarks

# The commit's own time, so that whoever builds it gets the same bytes.
wheel: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
wheel: $(READY) ## the wheel, the same bytes from the same commit: dist/
	$(BIN)/hatchling build --target wheel
	sha256sum dist/*.whl

SBOM ?= dist/dict-rate-limit-exporter.cdx.json
sbom: | $(UV) ## what the program is made of, as CycloneDX, from uv.lock: dist/
	@mkdir -p $(dir $(SBOM))
	$(UV) export --frozen --no-dev --format cyclonedx1.5 --quiet --preview-features sbom-export --output-file $(SBOM) >/dev/null

audit: | $(UV) ## known vulnerabilities of what uv.lock names; asks api.osv.dev
	$(UV) audit --frozen --no-dev --preview-features audit-command

clean: ## what the targets made
	rm -rf $(VENV) $(VENV)-newest .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
