# make demo | make app | make test | make lint: each does everything on a fresh machine with Python >= 3.11, pip and make.
PY ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Stamps for each interpreter: a re-run installs nothing, another PY makes the environment again.
BASE := $(VENV)/.installed-$(notdir $(PY))
APP := $(VENV)/.installed-app-$(notdir $(PY))
TEST := $(VENV)/.installed-test-$(notdir $(PY))
DOCS := $(VENV)/.installed-docs-$(notdir $(PY))

.PHONY: demo app docs test bench bench-peers test-slow test-openclip mutants lint lock lowest platforms audit sbom clean

demo: $(BASE)
	$(BIN)/python cli.py demo

# After `make demo`: its runs, its table and its images in the browser.
app: $(APP)
	$(BIN)/python cli.py app

# The documentation as a site, docs/_build/site/index.html. Needs no network; a warning is an error.
docs: $(DOCS)
	$(BIN)/python docs/prepare.py
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m sphinx -W --keep-going -E -q -d docs/_build/trees docs docs/_build/site
	@echo "Site: docs/_build/site/index.html"

# One thread for each process: threads that wait for each other's turn are many times slower. Three processes keep two
# cores busy, as many tests wait for a command. tests/conftest.py orders the files.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Half an hour on two cores; benchmarks/FAULTS.md says what was measured. Tests that share a folder are a group.
test-slow: $(TEST)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadgroup --durations 40

# What we claim about speed, on this machine alone: four minutes to a quarter of an hour on two cores. Sizes stand in the
# heads of the programs; figures and plots go to runs/bench.
bench: $(TEST)
	mkdir -p runs/bench
	$(BIN)/python -m benchmarks.startup | tee runs/bench/startup.txt
	$(BIN)/python -m benchmarks.decoding | tee runs/bench/decoding.txt
	$(BIN)/python -m benchmarks.cache --rows 300000 | tee runs/bench/cache.txt
	$(BIN)/python -m benchmarks.memory | tee runs/bench/memory.txt
	$(BIN)/python -m benchmarks.scaling --out runs/bench

# Against other libraries; open_clip's packages lie apart from the rest.
bench-peers: $(TEST)
	$(PIP) --require-hashes --no-deps --upgrade --target $(VENV)/openclip -r requirements/openclip.txt
	mkdir -p runs/bench
	PYTHONPATH=$(VENV)/openclip $(BIN)/python -m benchmarks.peers --out runs/bench

# Plants faults in what must not be wrong, one at a time; a test must notice each.
mutants: $(TEST)
	$(BIN)/python -m tests.promises.mutants

# The tests of the extra openclip, and of sentence-transformers models that need torchvision. Its packages lie apart from
# the rest: torchvision belongs to one version of torch.
test-openclip: $(TEST)
	$(PIP) --require-hashes --no-deps --upgrade --target $(VENV)/openclip -r requirements/openclip.txt
	PYTHONPATH=$(VENV)/openclip $(BIN)/python -m pytest -p tests.builders.cpu_torchvision \
		tests/consistency/backbone/test_open_clip_model.py tests/consistency/backbone/test_sentence_model.py

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What runs needs; nothing of it is for tests. The lock is complete, so --no-deps; torch follows with what its build needs.
$(BASE): pyproject.toml constraints.txt requirements/base.txt
	$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: PY=python3.12 make ...")'
	[ -e $@ ] || $(PY) -m venv --clear $(VENV)
	$(PIP) --require-hashes --no-deps -r requirements/base.txt
	$(PIP) -c constraints.txt torch
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

# What the extra app adds.
$(APP): $(BASE) requirements/app.txt
	$(PIP) --require-hashes --no-deps -r requirements/app.txt
	touch $@

$(DOCS): $(BASE) requirements/docs.txt
	$(PIP) --require-hashes --no-deps -r requirements/docs.txt
	touch $@

$(TEST): $(BASE) requirements/test.txt
	$(PIP) --require-hashes --no-deps -r requirements/test.txt
	touch $@

# Writes the newest versions that pyproject.toml allows, with their hashes, into requirements/; needs uv.
COMPILE := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command 'make lock' --override requirements/without-torch.txt

lock:
	$(COMPILE) pyproject.toml requirements/more.in --extra test -o requirements/test.txt
	$(COMPILE) pyproject.toml requirements/more.in -c requirements/test.txt -o requirements/base.txt
	$(COMPILE) --no-deps requirements/app.in -c requirements/test.txt -o requirements/app.txt
	$(COMPILE) requirements/docs.in -c requirements/test.txt -o requirements/docs.txt
	$(COMPILE) --no-deps requirements/openclip.in -o requirements/openclip.txt

# The demo and the other commands on the lowest versions that pyproject.toml allows.
lowest: $(BASE)
	$(BIN)/python -m tests.promises.lowest

# The same on every Python from 3.11 to 3.14 that this machine has, with the locked versions.
platforms: $(BASE)
	$(BIN)/python -m tests.promises.platforms

# Known weaknesses of the locked versions, and a bill of materials (CycloneDX) of the base install; both need uv.
LOCKED := $(VENV)/locked.txt

$(LOCKED): requirements/base.txt constraints.txt
	cat $^ > $@

audit: $(BASE) $(LOCKED)
	sed -E '/^ +--hash/d; s/ *\\$$//' $(LOCKED) > $(VENV)/versions.txt
	uvx pip-audit --requirement $(VENV)/versions.txt --no-deps --disable-pip

sbom: $(BASE) $(LOCKED)
	uvx --from cyclonedx-bom cyclonedx-py requirements $(LOCKED) --output-reproducible --output-file sbom.json

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
