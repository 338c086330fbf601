# make demo | make test | make lint: each does everything on a fresh machine with Python >= 3.11, pip and make.
PY ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A stamp for each interpreter: a re-run installs nothing, another PY makes the environment anew.
STAMP := $(VENV)/.installed-$(notdir $(PY))

.PHONY: demo test test-slow lint clean

demo: $(STAMP)
	$(BIN)/python cli.py demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: PY=python3.12 make ...")'
	[ -e $@ ] || $(PY) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
