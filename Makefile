# colorlab's commands: `make lab` opens the course, `make test` checks everything; `make` alone lists them all.
# Each first builds what it needs in $(VENV). Written for make 3.81 and later and any POSIX shell; for Windows see README.md.

VENV ?= .venv
PYTHON ?= python3 python3.13 python3.12 python3.11 python

# True for a Python that the course runs on. Candidates are run, not looked up: a pyenv shim is on the PATH and fails.
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
RUN = "$(VENV)/bin/python"
STAMP = $(VENV)/colorlab.stamp

# One torch thread in each of two workers: as quick as two threads in one, and the same bits on every machine.
PYTEST = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 JUPYTER_PLATFORM_DIRS=1 $(RUN) -m pytest -n 2 --dist loadscope
UNIT = $(PYTEST) --doctest-modules --cov --cov-branch --cov-fail-under=90 tests colorlab
# By address, not as a file to open: so that what it prints where there is no browser leads to the chapter as well.
WELCOME = --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/00_welcome.ipynb
NOTEBOOKS = $(wildcard notebooks/*.ipynb notebooks/solutions/*.ipynb)
# A notebook runs in this very environment, but with the built package, not this checkout, and a copy alone in an empty
# folder; a cell that runs away is stopped at five times a chapter's 90 s.
ALONE = runs/alone
RUN_ALONE = PYTHONPATH="$(CURDIR)/$(ALONE)/site" $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=450 $(ALONE)/notebooks
CHECK_NOTEBOOKS = $(if $(NOTEBOOKS),$(RUN) tools/alone.py $(ALONE) $(NOTEBOOKS) && $(RUN_ALONE),@echo "There are no notebooks yet.")

.PHONY: help lab test test-all bench lint setup

help:
	@echo "colorlab: a course on colouring photographs with a conditional GAN, and the library that it builds."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

lab: setup ## open the course in JupyterLab
	@root=; if test "$$(id -u)" = 0; then root=--allow-root; fi; \
	echo "JupyterLab opens in your browser. Where there is none, take the address that it prints, with its token, to one."; \
	exec $(RUN) -m jupyterlab $$root $(if $(wildcard notebooks/00_welcome.ipynb),$(WELCOME))

test: lint ## check everything that a change may break: the library and every notebook, under 25 minutes on two cores
	$(UNIT) -m "not exhaustive"
	$(CHECK_NOTEBOOKS)

test-all: lint ## the same, and the exhaustive tests
	$(UNIT)
	$(CHECK_NOTEBOOKS)

bench: setup ## measure speed and memory, one table for each benchmark
	@for file in benchmarks/bench_*.py; do \
	  if test ! -f "$$file"; then echo "There are no benchmarks yet."; break; fi; \
	  echo "== $$file"; $(RUN) "$$file" || exit 1; \
	done

lint: setup ## ruff, over the library, the tests and the notebooks
	$(RUN) -m ruff check .

# The stamp holds what was installed: the two files' content, and this folder, since the editable install points to it.
# A half-built environment has no stamp and is built again. nbgrader's buttons are for teachers, who turn them on.
setup: ## build .venv with the tested versions, once (`make VENV=/elsewhere` puts it elsewhere)
	@set -e; \
	key="$$(cat pyproject.toml constraints.txt | cksum) $$(pwd)"; \
	if test "$$key" = "$$(cat "$(STAMP)" 2>/dev/null)" && $(RUN) -c '$(FITS)' 2>/dev/null; then exit 0; fi; \
	if ! $(RUN) -c 'import pip; $(FITS)' >/dev/null 2>&1; then \
	  found=; \
	  for need in 'import ensurepip, venv;' ''; do \
	    for python in $(PYTHON); do \
	      if test -z "$$found" && $$python -c "$$need $(FITS)" >/dev/null 2>&1; then found=$$python; fi; \
	    done; \
	  done; \
	  if test -z "$$found"; then \
	    echo "colorlab needs Python 3.11, 3.12 or 3.13, and none of these runs here: $(PYTHON). Install one, or name yours: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version) ..."; \
	  clear=; if test -f "$(VENV)/pyvenv.cfg"; then clear=--clear; fi; \
	  if ! $$found -m venv $$clear "$(VENV)"; then \
	    package=$$($$found -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    echo "This Python cannot make a virtual environment. On Debian and Ubuntu the cure is: sudo apt-get install $$package; then run make again." >&2; \
	    exit 1; \
	  fi; \
	fi; \
	rm -f "$(STAMP)"; \
	echo "Installing the tested versions into $(VENV): some minutes the first time, seconds later ..."; \
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e ".[course,test]"; \
	$(RUN) -m jupyterlab.labextensions disable --level=sys_prefix @jupyter/nbgrader 2>/dev/null; \
	echo "$$key" > "$(STAMP)"
