# designspace: every target sets up what it needs; a second call installs nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install demo test lint faults newcomer bench bench-train bench-analysis bench-pretrain reference reference-report docs clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

install: $(STAMP) ## set up .venv; then .venv/bin/designspace works

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "designspace needs Python 3.11 or newer; found: $$($(PYTHON) --version). Try: make install PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,dask,export,detect,tensorboard,swav-test,dev]'
	@touch $(STAMP)

demo: $(STAMP)    ## the whole main job on built-in images: sample, train, analyze, derive, export
	$(BIN)/designspace demo

lint: $(STAMP)    ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint        ## ruff, mypy and pytest
	$(BIN)/pytest

faults: $(STAMP)  ## kill -9, full disks, damaged and hostile files: every fault (minutes)
	$(BIN)/pytest tests/faults --faults --durations=15

bench: $(STAMP) $(VENV)/.bench ## side by side with the peers, one table (25 minutes, alone; PYCLS=checkout; QUICK=1: 1 to 4 minutes, judges no goal)
	$(BIN)/python tests/benchmarks/bench.py $(if $(QUICK),--quick)

# Peers that nothing else needs. Rows whose peer can't be had are skipped, and say so.
$(VENV)/.bench: pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]' && touch $@ || \
	  echo "optuna and plotly could not be installed: their rows will be skipped" >&2

newcomer: $(STAMP) ## a fresh clone set up and used as the README says (minutes, 6 GB of disk)
	$(BIN)/pytest tests/test_newcomer.py --newcomer

bench-train: $(STAMP) ## training speed against a plain loop and the bare step (15 minutes, alone)
	$(BIN)/python tests/benchmarks/bench_train.py

bench-pretrain: $(STAMP) ## speed of crops, loss and a full step of pretraining (five minutes, alone)
	$(BIN)/python tests/benchmarks/bench_pretrain.py

bench-analysis: $(STAMP) ## speed of the analysis against its obvious twins (three minutes)
	$(BIN)/python tests/benchmarks/bench_analysis.py

# DATA: its images, folder:PATH or cifar10. OUT: a new folder for a study of one's own, from nothing.
reference: $(STAMP) ## the reference study, on from where it was (six hours on two cores; DATA=folder:PATH)
	PATH="$(CURDIR)/$(BIN):$$PATH" OUT="$(OUT)" results/reference/study.sh "$(DATA)"

reference-report: $(STAMP) ## the kept journals of the reference study analysed again, in seconds
	PATH="$(CURDIR)/$(BIN):$$PATH" OUT="$(OUT)" results/reference/study.sh none 1 report

docs: $(STAMP)    ## pages of the API from its docstrings, in .docs/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory .docs \
	  $(addprefix designspace.,arch space runs networks training analysis derive report export pretrain)

clean:           ## remove what the tools cache (never results/)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist .docs
	find designspace tests -name __pycache__ -type d -prune -exec rm -rf {} +
