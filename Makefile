# `make` alone lists the targets. Everything is installed into a virtual environment, .venv; with
# `VENV=path` into one of your own, whose torch (a CUDA build, say) is then left as it is.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin
PIP := $(RUN)/python -m pip --disable-pip-version-check --no-input

# -- what ffcv is compiled with ------------------------------------------------------------------------
FFCV_PACKAGES := pkg-config g++ python3-dev libopencv-dev libturbojpeg0-dev
FFCV_READY = command -v g++ && pkg-config --exists opencv4 libturbojpeg && \
	$(RUN)/python -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")'
FFCV_WORKS = $(RUN)/python -c 'import ffcv.loader'

# -- system packages, only where nobody has to be asked for a password ---------------------------------
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)
MAY_INSTALL = command -v apt-get && $(AS_ROOT) true
APT_INSTALL = $(AS_ROOT) apt-get update -qq && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive \
	apt-get install -qq --no-install-recommends -o DPkg::Lock::Timeout=120

.PHONY: help install ffcv demo test check lint types style clean

help:
	@echo "make demo      install into $(VENV), then score, prune and train on the digits; ends with a report"
	@echo "make install   only install, FFCV included where the system lets it"
	@echo "make test      lint, types and the whole test suite"
	@echo "make check     the fast part of it"
	@echo "make style     put the code into the project's style"
	@echo "make ffcv      try once more to install FFCV"
	@echo "make clean     remove $(VENV) (if it is .venv) and what tools left behind"
	@echo "Settings: PYTHON=python3.12 to build .venv with, VENV=path for an environment of your own."
	@echo "No GPU? PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA."

install: $(VENV)/.installed $(VENV)/.ffcv
	@:

$(RUN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "datapruner needs Python 3.10 or later; name one: make PYTHON=python3.11"; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null && { $(MAY_INSTALL); } >/dev/null 2>&1; then \
		echo "Installing python3-venv with apt-get"; \
		{ $(APT_INSTALL) python3-venv; } </dev/null >/dev/null || true; \
	fi
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "That failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# A torch that is there stays there: it is pinned to itself, and torchvision follows it.
KEPT_TORCH = from importlib.metadata import version; print("torch==" + version("torch"))

$(VENV)/.installed: pyproject.toml constraints.txt | $(RUN)/python
	@{ grep -v '^torch' constraints.txt; $(RUN)/python -c '$(KEPT_TORCH)' 2>/dev/null || \
		grep '^torch' constraints.txt; } > $(VENV)/constraints.txt
	@echo "Installing datapruner, torch and what else it needs into $(VENV) (minutes the first time)"
	@$(PIP) install -qq -c $(VENV)/constraints.txt -e '.[dev]' </dev/null
	@touch $@

# That ffcv cannot be built here is said once and stops nothing; only CI insists on it, in `test`.
$(VENV)/.ffcv: $(VENV)/.installed
	@$(MAKE) --no-print-directory ffcv
	@touch $@

ffcv: $(VENV)/.installed
	@if ! { $(FFCV_WORKS) || { $(FFCV_READY); }; } >/dev/null 2>&1 && \
			{ $(MAY_INSTALL); } >/dev/null 2>&1; then \
		echo "Installing what FFCV is compiled with: $(FFCV_PACKAGES)"; \
		{ $(APT_INSTALL) $(FFCV_PACKAGES); } </dev/null >$(VENV)/apt.log 2>&1 || \
			{ echo "apt-get failed:"; tail -n 3 $(VENV)/apt.log; }; \
	fi
	@if $(FFCV_WORKS) >/dev/null 2>&1; then \
		echo "FFCV is there"; \
	elif ! { $(FFCV_READY); } >/dev/null 2>&1; then \
		echo "Going on without FFCV (.beton files); it needs a C++ compiler, Python's headers,"; \
		echo "OpenCV and TurboJPEG. On Debian and Ubuntu, as root: apt-get install $(FFCV_PACKAGES)"; \
		echo "On macOS: brew install pkg-config opencv jpeg-turbo. Then: make ffcv"; \
	else \
		echo "Building FFCV (half a minute)"; \
		{ $(PIP) install -c $(VENV)/constraints.txt -e '.[ffcv]' && $(FFCV_WORKS); } \
			</dev/null >$(VENV)/ffcv.log 2>&1 || \
			{ echo "Going on without FFCV: that failed, see $(VENV)/ffcv.log, which ends:"; \
			  tail -n 5 $(VENV)/ffcv.log; echo "When that is mended: make ffcv"; }; \
	fi

demo: install
	@$(RUN)/datapruner demo

test: install
	@case "$$CI" in ''|0|false) ;; *) $(FFCV_WORKS) || \
		{ echo "CI tests everything, and FFCV does not work here (see above)"; exit 1; };; esac
	@$(MAKE) --no-print-directory lint types
	@echo "Running the whole test suite"
	@$(RUN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed lint types
	@echo "Running the fast tests"
	@$(RUN)/python -m pytest -m "not slow and not ffcv"

lint: $(VENV)/.installed
	@echo "Checking the style"
	@$(RUN)/ruff check -q .
	@$(RUN)/ruff format -q --check . || { echo "Not in the project's style; run: make style"; exit 1; }

types: $(VENV)/.installed
	@echo "Checking the types"
	@$(RUN)/mypy

style: $(VENV)/.installed
	@$(RUN)/ruff check -q --fix .
	@$(RUN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
