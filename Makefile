# The targets that people and CI use. `make` alone prints them.
#
# Everything is installed into .venv here, and nothing outside of it, but for `make test`, which brings the OpenSSH
# server and login shells from the system's packages where they are missing and it may.
#
#   PYTHON=/usr/bin/python3.12 make demo     another interpreter than the first that fits

PY := .venv/bin/python

# Targets share one virtual environment: `make -j` is welcome, and runs them one after the other.
.NOTPARALLEL:
.PHONY: help venv dev demo test check format bench picture try-tomcat docs clean
.DEFAULT_GOAL := help

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv: ## make .venv with dasctl in it
	@sh scripts/venv.sh run

dev:
	@sh scripts/venv.sh dev

demo: venv ## show the main job: three nodes on this machine, started, synchronised, stopped
	@$(PY) scripts/demo.py

test: ## install what the tests need, and run them
	@sh scripts/install_test_needs.sh
	@sh scripts/venv.sh dev
	@sh scripts/run_tests.sh $(PY)

check: ## formatting, lint, types, import law, tests, documents
	@sh scripts/install_test_needs.sh
	@sh scripts/venv.sh dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m mypy scripts/*.py
	$(PY) -m mypy scripts/bench/*.py
	.venv/bin/lint-imports
	@sh scripts/run_tests.sh $(PY)

format: dev ## put the code into its form
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: venv ## measure against rsync, on OpenSSH servers of this machine (BENCH="--quick" for a short one)
	@sh scripts/install_test_needs.sh
	@$(PY) scripts/bench $(BENCH)

try-tomcat: venv ## do docs/how-to/tomcat.md for real (installs Debian's tomcat10-common)
	@$(PY) scripts/try_tomcat.py

picture: venv ## make docs/terminal.svg from the real program
	@$(PY) scripts/picture.py

docs: dev ## make the reference pages anew from the program and the sample
	$(PY) docs/make_reference.py
	$(PY) docs/make_domain_reference.py

clean: ## remove what the other targets made here
	rm -rf .venv build dist bench-results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf src/*.egg-info
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
