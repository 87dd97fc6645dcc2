# Everything is set up on first use: a virtual environment in .venv with the package, its extras and
# the tools.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# one process for each core, each with one thread
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

.PHONY: demo test quick check format docs pictures readme results benchmarks build clean

demo: $(READY)  ## train and compare all procedures on handwritten digits
	$(BIN)/virolbi demo runs/demo

test: check  ## everything CI runs
	$(PYTEST)

quick: $(READY)  ## the tests without the slow ones, in under a minute
	$(PYTEST) -m "not slow"

check: $(READY)  ## style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/update_readme.py --check

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: build/docs.ready  ## the site in build/docs, in a few minutes: pages, API, and a gallery that runs
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

pictures: $(READY)  ## the picture of README.md
	$(BIN)/python tools/draw_overview.py

readme: $(READY)  ## the tables of README.md from the rows under results/
	$(BIN)/python tools/update_readme.py

ARMS = plain,mixed-untouched,mixed-gaussian,mixed-gaussian-augmix,mixed-augmix,mixed,fixed,iterative,$\
paper-fixed,paper-fixed-other,rival-gaussian,rival-augmix,rival-augmix-gaussian,rival-augmix-median,$\
rival-median,rival-blur
LEADING = plain,mixed-untouched,mixed-gaussian-augmix,mixed-augmix,mixed-gaussian,rival-augmix-median,$\
rival-augmix-gaussian
JUDGED = --smooth auto --attacked 0 $(if $(DATA),--data $(DATA))
results: $(READY)  ## the rows under results/, again: eight hours on two cores (DATA=folder or hub name)
	$(BIN)/virolbi compare cifar10-resnet8 runs/cifar10 --seeds 2 --arms $(ARMS) $(JUDGED)
	$(BIN)/virolbi compare cifar10-resnet20 runs/cifar10-resnet20 --set epochs=10 --arms $(LEADING) $(JUDGED)
	mkdir -p results/cifar10 results/cifar10-resnet20
	cp runs/cifar10/rows.jsonl runs/cifar10/comparison.json results/cifar10
	cp runs/cifar10-resnet20/rows.jsonl runs/cifar10-resnet20/comparison.json results/cifar10-resnet20

benchmarks: $(READY)  ## the rows under results/engine, in a quarter of an hour (DATA=folder of data sets)
	$(BIN)/python benchmarks/run.py $(DATA)

build: $(READY)  ## wheel and sdist in dist/, and a smoke test of the wheel alone in a new environment
	rm -rf dist build/smoke
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/smoke
	build/smoke/bin/python -m pip install --quiet dist/*.whl
	build/smoke/bin/python tools/smoke_test.py build/smoke

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or newer is needed: make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $(READY)

build/docs.ready: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	mkdir -p build && touch $@

clean:
	rm -rf $(VENV) build dist docs/gallery docs/reference docs/sg_execution_times.rst .pytest_cache .mypy_cache .ruff_cache .hypothesis
