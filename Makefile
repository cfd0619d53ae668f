# make demo: set up and build a corpus from source code on this machine.   make test: set up and run every test.
# make demo-model: train a small model on that corpus and let it write.
# Needs Python 3.11 or newer, git and make. Choose another interpreter with `make demo PYTHON=/path/to/python`.

.DELETE_ON_ERROR:
.PHONY: demo demo-model test conformance records check docs reference bench truth clean

VENV := .venv
BIN := $(VENV)/bin
IS_USABLE := import sys, venv, ensurepip; raise SystemExit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c '$(IS_USABLE)' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

# A second `make` installs nothing: a stamp is newer than what it was made from.
INSTALLED := $(VENV)/.installed
INSTALLED_MODEL := $(VENV)/.installed-model
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

demo: $(INSTALLED)
	$(BIN)/starsmith build recipes/quickstart.toml

# Tokenizer, pack, training, then a prompt and a gap. What is done already is not done again.
TINY := recipes/starcoder2-tiny
demo-model: $(INSTALLED_MODEL)
	$(BIN)/starsmith build recipes/quickstart.toml
	$(BIN)/starsmith tokenizer train $(TINY).toml
	$(BIN)/starsmith pack $(TINY).toml
	$(BIN)/starsmith train $(TINY).toml --resume
	$(BIN)/starsmith generate $(TINY).run --max-tokens 64 --temperature 0.5 --top-p 0.9 --seed 1 \
		--prompt 'def add(self, name, value):'
	$(BIN)/starsmith generate $(TINY).run --max-tokens 24 --suffix "$$(printf '\n    return total\n')" \
		--prefix "$$(printf 'def sum_of(values):\n    total = 0\n    for value in values:\n        ')"

# Each worker begins with half of the tests, in order, so that few fixtures are made by both.
test: check docs
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Every corpus on every engine, on the disk and on an object store, compared byte by byte; `make test` does some pairs of
# it. Fetches sdists from the package registry.
conformance: $(INSTALLED_DEV)
	STARSMITH_CONFORMANCE=full $(BIN)/python -m pytest tests/engines/test_conformance.py

# Every recorded completion judged anew and compared with its official verdict; `make test` does a sample.
records: $(INSTALLED_DEV)
	STARSMITH_RECORDS=full $(BIN)/python -m pytest tests/evaluate/test_records.py

check: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src

docs: $(INSTALLED_DEV)
	$(BIN)/sphinx-build -W -n --keep-going -q -b html docs build/docs
	@echo "docs: build/docs/index.html"

# Rewrites the pages of docs/reference from the code; a test compares them.
reference: $(INSTALLED_DEV)
	$(BIN)/python -m starsmith.reference docs/reference

# Each program prints its figures; what else there is to measure, and against whom, stands in benchmarks/README.md.
CORPUS ?= $(VENV)/lib
bench: $(INSTALLED_DEV)
	$(BIN)/python benchmarks/text_statistics.py $(CORPUS)
	$(BIN)/python benchmarks/near_duplicates.py $(CORPUS)

# Precision and recall of the scan for secrets and personal data, by kind, on both halves of the truth set.
truth: $(INSTALLED_DEV)
	$(BIN)/python benchmarks/redaction.py --half both

clean:
	rm -rf $(VENV) build dist src/starsmith.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@"$(PYTHON)" -c '$(IS_USABLE)' 2>/dev/null || { \
		echo "Starsmith needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv)." >&2; \
		echo "None was found; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Starsmith into $(VENV) (the first time takes a minute or two)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(INSTALLED_MODEL): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what training needs into $(VENV) (the first time takes a few minutes)"
	@$(PIP) install --constraint constraints.txt --editable '.[model]'
	@touch $@ $(INSTALLED)

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Starsmith and the tools for its tests into $(VENV) (the first time takes a minute or two)"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(INSTALLED) $(INSTALLED_MODEL)
