# designspace: every target installs what it needs into .venv; a second call installs nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What is installed: the package and its CPU kernels; every extra; what the tests need.
BASE   := $(VENV)/.base
EXTRAS := $(VENV)/.extras
DEV    := $(VENV)/.dev

.PHONY: help install demo tutorial test quick-tests test-slow lint faults gpu newcomer bench bench-train bench-analysis bench-pretrain latency-evidence pretraining-proof reference reference-report docs clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 18

install: $(EXTRAS) ## set up .venv with every extra; then .venv/bin/designspace works

$(BASE): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "designspace needs Python 3.11 or newer; found: $$($(PYTHON) --version). Try: make install PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Installing designspace and its CPU kernels into $(VENV): about 6.2 GB on Linux, where PyTorch comes with CUDA, and 3 to 10 minutes."
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[cpu]'
	@touch $@

$(EXTRAS): $(BASE)
	@echo "Adding the extras (Dask, export, detection, TensorBoard): about 0.3 GB and a minute."
	$(PIP) -e '.[all]'
	@touch $@

$(DEV): $(EXTRAS)
	@echo "Adding what the tests need: about 0.2 GB and a minute."
	$(PIP) -e '.[all,dev]'
	@touch $@

demo: $(BASE)     ## the whole main job on built-in images: sample, train, analyze, derive, export
	@echo "The demo takes about 3 minutes on two cores and writes 3 MB to results/demo."
	$(BIN)/designspace demo

tutorial: $(BASE) ## a first study from Python, tests/tutorial.py
	$(BIN)/python tests/tutorial.py

lint: $(DEV)      ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: $(DEV)      ## ruff, mypy and the quick tests, in two processes (JOBS=4: in four)
	@echo "The tests take about 8 minutes on two cores."
	@$(MAKE) --no-print-directory -j2 lint quick-tests  # mypy alone would leave a core idle

quick-tests: $(DEV)
	$(BIN)/pytest -n $(or $(JOBS),2)

test-slow: $(DEV) ## the slow tests, which `make test` leaves out
	$(BIN)/pytest -m slow -n $(or $(JOBS),2)

faults: $(DEV)    ## kill -9, full disks, damaged and hostile files: every fault in full counts (minutes)
	$(BIN)/pytest tests/faults --faults -m '' --durations=15

gpu: $(DEV)       ## acceptance on one GPU, 8 minutes, and latencies, 3 more; skipped without one (GPU_REHEARSAL=1: on the CPU, small, 4 minutes)
	$(BIN)/pytest tests/gpu -m '' -rs -s

bench: $(DEV) $(VENV)/.bench ## side by side with the peers, one table (25 minutes, alone; PYCLS=checkout; QUICK=1: 1 to 4 minutes, judges no goal)
	$(BIN)/python tests/benchmarks/bench.py $(if $(QUICK),--quick)

# Peers that nothing else needs. Rows whose peer can't be had are skipped, and say so.
$(VENV)/.bench: pyproject.toml
	@$(PIP) -e '.[bench]' && touch $@ || \
	  echo "optuna and plotly could not be installed: their rows will be skipped" >&2

newcomer: $(DEV)  ## a fresh clone set up and used as the README says (minutes, 6 GB of disk)
	$(BIN)/pytest tests/test_newcomer.py --newcomer

bench-train: $(DEV) ## training speed against a plain loop and the bare step (25 minutes, alone)
	$(BIN)/python tests/benchmarks/bench_train.py

bench-pretrain: $(DEV) ## speed of crops, loss and a full step of pretraining (five minutes, alone)
	$(BIN)/python tests/benchmarks/bench_pretrain.py

latency-evidence: $(BASE) ## time against flops and activations, RegNets against EfficientNets, in results/latency (20 minutes, alone; resumes)
	$(BIN)/python tests/benchmarks/latency_evidence.py $(if $(DEVICE),--device $(DEVICE))

bench-analysis: $(DEV) ## speed of the analysis against its obvious twins (three minutes)
	$(BIN)/python tests/benchmarks/bench_analysis.py

# DATA: its images, folder:PATH or cifar10. OUT: a new folder for a study of one's own, from nothing.
reference: $(EXTRAS) ## the reference study, resumed where it stopped (`--dry-run` of the study says how long; DATA=folder:PATH)
	$(BIN)/designspace study results/reference/study.yaml --data "$(DATA)" $(if $(OUT),--out "$(OUT)")

reference-report: $(BASE) ## analyze the kept journals of the reference study again, in seconds
	$(BIN)/designspace study results/reference/study.yaml --only report

pretraining-proof: $(EXTRAS) ## evaluate the kept pretraining, train and compare others; resumes (12 core-hours; DATA=folder:PATH)
	PATH="$(CURDIR)/$(BIN):$$PATH" results/pretraining/evaluate.sh "$(DATA)"
	$(BIN)/python results/pretraining/proof.py "$(DATA)"

docs: $(EXTRAS)   ## pages of the API from its docstrings, in .docs/
	$(PIP) -e '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory .docs \
	  designspace

clean:           ## remove what the tools cache (never results/)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist .docs
	find designspace tests -name __pycache__ -type d -prune -exec rm -rf {} +
