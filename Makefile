# Every target does its own set-up in .venv on a machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
OUT ?= runs/demo

.PHONY: demo test test-all lint bench install clean

install: $(STAMP)

# The pinned torch comes first: an unpinned one would pull gigabytes of CUDA where none is needed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# A2C on Breakout for about two minutes on two cores, then its score, its noise scale and the curve. Two minutes hold few
# updates, so the noise is measured at each of them.
demo: $(STAMP)
	rm -rf $(OUT)
	$(BIN)/rl-gns train atari:breakout --algo a2c --num-envs 16 --rollout 5 --observations 1.1e5 --log-every 2000 --noise-budget 1 --out $(OUT)
	$(BIN)/rl-gns noise $(OUT)

# A process for each processor; a file's tests stay together, as they share what its fixtures make.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n logical --dist loadfile --no-loadscope-reorder

test-all: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python scripts/bench/train_speed.py

clean:
	rm -rf $(VENV) build *.egg-info
