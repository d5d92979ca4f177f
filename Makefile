# Needs Python 3.11 or later, make and PyPI; `make servers` says what else it can use.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo native check-native test lint format format-check types contract check docs check-docs guarantees attack soak coverage servers collector jaeger victoria-logs kafka uwsgi bench package pythons dependencies lock clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"wakelog needs Python 3.11 or later; \"$(PYTHON)\" is {v[0]}.{v[1]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# The stamp is older than what it stands for when the dependencies have changed.
$(STAMP): pyproject.toml requirements-dev.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# What users install, and nothing of what the tests need: that takes many times as long.
INSTALLED := $(BIN)/wakelog
$(INSTALLED): | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli]'

demo: | $(INSTALLED) ## Records, breaks, recovers: the whole story in one run
	$(BIN)/wakelog demo

# The compiled encoders, built where Rust is.
NATIVE := $(VENV)/.native
$(NATIVE): native/Cargo.toml native/Cargo.lock native/pyproject.toml $(wildcard native/src/*.rs) | $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./native
	@touch $@

native: $(NATIVE) ## Builds the compiled encoders into .venv (needs Rust); without them their tests are skipped

check-native: ## Checks form and style of the compiled encoders (needs Rust)
	cargo fmt --check --manifest-path native/Cargo.toml
	cargo clippy --quiet --release --locked --manifest-path native/Cargo.toml -- --deny warnings

test: $(STAMP) ## Runs the tests (PYTEST_ARGS="-k journal" for some of them)
	@! command -v cargo >/dev/null || $(MAKE) --no-print-directory native || echo "The compiled encoders could not be built; their tests are skipped"
	$(BIN)/python -m scripts.run_tests $(PYTEST_ARGS)

lint: $(STAMP) ## Finds mistakes and bad style
	$(BIN)/ruff check

format: $(STAMP) ## Formats the code and fixes what can be fixed safely
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

format-check: $(STAMP) ## Fails when `make format` would change something
	$(BIN)/ruff format --check

types: $(STAMP) ## Checks the types
	$(BIN)/mypy

contract: $(STAMP) ## Checks that each floor imports only floors below it
	$(BIN)/lint-imports

check: format-check lint types contract test ## Everything that CI runs, save getting the servers

docs: $(STAMP) ## Makes a site of the documentation, build/site/index.html; a warning is an error
	@$(BIN)/python -m scripts.build_docs

check-docs: $(STAMP) ## Checks every link, anchor, example, command and figure of the documentation
	$(BIN)/python -m pytest tests/project/test_docs.py tests/project/test_docs_links.py tests/project/test_docs_site.py tests/project/test_first_steps.py tests/project/test_deployment.py $(PYTEST_ARGS)
	@echo "Links that leave the project, which nothing here asks for:"
	@$(BIN)/python -m scripts.external_links

guarantees: $(STAMP) ## Tries to break every guarantee, and writes docs/guarantees.md
	$(BIN)/python -m pytest -p tests.support.guarantees tests/journal/test_faults.py tests/journal/test_power_loss.py tests/journal/test_guarantees.py \
	  tests/journal/test_append_files.py tests/journal/test_space_faults.py tests/journal/test_space.py tests/journal/test_quota.py tests/delivery/test_answers.py tests/journal/test_interruptions.py tests/journal/test_owners.py \
	  tests/spans/test_span_faults.py \
	  tests/processes/test_forks.py tests/journal/test_working_directory.py tests/journal/test_damage_at_the_end.py \
	  tests/evidence/test_evidence_table.py tests/evidence/test_evidence_erasure.py \
	  tests/delivery/test_end_to_end.py::test_nothing_accepted_is_missing_after_twenty_kills_at_random_moments $(PYTEST_ARGS)

attack: $(STAMP) ## Tries what goes by chance with the full counts; hours (WAKELOG_TEST_SEED=... repeats a run)
	@seed=$${WAKELOG_TEST_SEED:-$$(date +%s)}; echo "seed $$seed"; \
	  WAKELOG_ATTACK=1 WAKELOG_TEST_SEED=$$seed $(BIN)/python -m pytest -m attack --hypothesis-seed=$$seed $(PYTEST_ARGS)

coverage: $(STAMP) ## Runs the tests, and says which lines and branches of src/ no test comes to, in any process
	@rm -rf .coverage && mkdir -m 1777 .coverage  # programs of another user write there, too
	-$(BIN)/coverage run -m scripts.run_tests $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

soak: $(STAMP) ## Records for an hour while the next hop comes and goes; fails when anything grows (SOAK_ARGS="--minutes 5")
	@$(BIN)/python -m scripts.soak $(SOAK_ARGS)

servers: ## Installs and builds every server that tests talk to, as far as this machine may
	@$(PYTHON) -m scripts.servers

collector: ## Builds the Collector and the Kafka broker of the tests, once, outside the repository
	@$(PYTHON) -m scripts.build_collector
	@$(PYTHON) -m scripts.build_kafka

jaeger: ## Builds the Jaeger of a test in the same way; without it that test is skipped
	@$(PYTHON) -m scripts.build_jaeger

victoria-logs: ## Builds the VictoriaLogs of some tests in the same way; without it those are skipped
	@$(PYTHON) -m scripts.build_victoria_logs

kafka: ## Fetches Apache Kafka for the tests of KafkaTransport, once (needs Java 17 and Maven)
	@$(PYTHON) -m scripts.fetch_kafka

uwsgi: $(STAMP) ## Builds uWSGI for some tests, once, outside the repository; without it those are skipped
	@$(BIN)/python -m scripts.build_uwsgi

bench: $(STAMP) ## Runs every benchmark
	@set -e; for file in benchmarks/bench_*.py; do \
	  test -e "$$file" || { echo "no benchmarks yet"; break; }; \
	  echo "== $$file"; $(BIN)/python "$$file"; done

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

package: $(STAMP) $(BIN)/uv ## Builds wheel and source distribution, and checks them with each extra, in empty environments
	@$(BIN)/python -m scripts.check_package

pythons: $(STAMP) $(BIN)/uv ## Runs a small set of tests under every supported Python that is on this machine
	@$(BIN)/python -m scripts.try_environments pythons

dependencies: $(STAMP) $(BIN)/uv ## Runs the same with the oldest and with the newest dependencies
	@$(BIN)/python -m scripts.try_environments dependencies

lock: $(BIN)/uv ## Brings requirements-dev.lock up to pyproject.toml (LOCK_ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile pyproject.toml --extra cli --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --quiet $(LOCK_ARGS) --output-file requirements-dev.lock

clean: ## Removes the virtual environment and everything that tools left behind
	rm -rf $(VENV) native/target .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: axe pictures
axe: ## Fetches axe-core for a test of the page, once, outside the repository (needs npm)
	@$(PYTHON) -m scripts.fetch_axe

pictures: $(STAMP) ## Takes the pictures of the local page for README and docs (needs Chromium)
	@$(BIN)/python -m scripts.render_page
