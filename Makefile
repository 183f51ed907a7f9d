# `make score` and `make test` set up what they need on a machine with Python 3.11+, make and git.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: score test test-slow lint types clean

score: .venv/ready
	$(BIN)/disbench score --model beta_vae-rooms3d --dataset rooms3d --protocol quick

test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/ready-dev
	$(BIN)/python -m pytest -m slow

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready-dev
	$(BIN)/mypy

clean:
	rm -rf .venv

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("disbench needs Python 3.11 or newer") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
