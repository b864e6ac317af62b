# make setup | demo | test | lint | parity | bench | abuse: each does everything on a fresh machine, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without an NVIDIA GPU, take the PyTorch that constraints-cpu.txt pins.
CONSTRAINTS := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo -c constraints-cpu.txt)

.PHONY: setup demo test lint parity bench abuse format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "EchoSweep needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(CONSTRAINTS) --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/echosweep demo demo

test: setup
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Features and FID against torch-fidelity on the same weights, in a folder of its own.
parity: setup
	$(BIN)/python benchmarks/parity.py .parity

# Every stage beside what one would pick instead; the others' packages go into .peers.
bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench.py

# Every promise of docs/reliability.md, for about a day: the same command continues. ROWS=kill,fuzz: some.
abuse: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.abuse abuse/table.md $(if $(ROWS),--rows $(ROWS))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .parity .peers build dist
