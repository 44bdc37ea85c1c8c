# `make run` and `make test` need Python 3.11+ and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check surfaces lock bench clean

.venv/run.stamp: requirements/run.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev.stamp: requirements/dev.txt .venv/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

run: .venv/run.stamp  ## the daemon on loopback; outgoing mail is captured, not sent
	$(BIN)/posthouse serve --dev

test: .venv/dev.stamp  ## every test this machine can run; what lacks a peer says so
	$(BIN)/python -m pytest -n auto $(TESTS)

check: .venv/dev.stamp  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

surfaces: .venv/dev.stamp  ## the tables of docs/api/surfaces.md, from the code
	$(BIN)/python -m docs.surfaces

lock: .venv/dev.stamp  ## pin every dependency, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra build -o requirements/run.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra build --extra dev -c requirements/run.txt -o requirements/dev.txt pyproject.toml

bench: .venv/dev.stamp  ## figures beside Postfix + OpenDKIM in one run; needs root and Debian's peers
	$(BIN)/python bench/relay.py

clean:
	rm -rf .venv build *.egg-info
