# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each makes its own environment in .venv, says what it does, and is quick the second time.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
# A CPU build of torch: taken where pip finds one, else from PyTorch's own index; set TORCH="torch" for a CUDA machine.
TORCH  ?= torch==2.13.0

.PHONY: help demo test check lint types dashboard bench clean
help:            ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

$(STAMP)-venv:
	@echo "· making the environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit("llmsizer needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(STAMP)-torch: $(STAMP)-venv
	@TORCH="$(TORCH)" sh tools/install_torch.sh $(BIN)/python
	@touch $@

$(STAMP)-demo: pyproject.toml $(STAMP)-torch
	@echo "· installing llmsizer with what measuring, quantizing and the dashboard need"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $@

$(STAMP)-dev: $(STAMP)-demo
	@echo "· installing the test tools"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)-demo  ## from a model to a decision, measured on this machine (≤ 10 minutes, then ≤ 2)
	@$(BIN)/llmsizer demo --out demo-output

test: $(STAMP)-dev lint types  ## everything that must hold
	@$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(STAMP)-dev  ## style
	@$(BIN)/ruff check src tests dashboards benchmarks tools
	@$(BIN)/ruff format --check -q src tests dashboards benchmarks tools

types: $(STAMP)-dev  ## strict types
	@$(BIN)/mypy

dashboard: $(STAMP)-demo  ## the dashboard on localhost
	@$(BIN)/llmsizer dashboard

bench: $(STAMP)-dev  ## the accuracy table of the README
	@$(BIN)/python benchmarks/accuracy.py --json benchmarks/results/accuracy.json --plot docs/residuals.svg

clean:  ## remove the environment and the demo's output
	rm -rf $(VENV) .envs demo-output
