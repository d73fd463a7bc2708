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

# A2C on Breakout for about four minutes on two cores, then its score, its noise scale and the curve. That is 2,500 updates,
# so RMSProp is the form that has no wait of a thousand, and the noise is measured at each and averaged over few: the first
# steps are the longest, and their noise is no later one's.
demo: $(STAMP)
	rm -rf $(OUT)
	$(BIN)/rl-gns train atari:breakout --algo a2c --num-envs 16 --rollout 5 --rmsprop torch --learning-rate 1e-3 --observations 2e5 --log-every 2500 --noise-budget 1 --noise-halflife 2e4 --out $(OUT)
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
