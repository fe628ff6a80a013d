# Two commands do everything on a machine with Python >= 3.11, git and make:
#   make demo    environment, then the sample area, ending in a report
#   make test    environment, then the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LINKS := .typing/.made

.PHONY: demo test check docs clean
demo: $(STAMP)
	$(BIN)/overwatt demo --out runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP) $(LINKS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy -p overwatt
	PYTHONPATH=.typing $(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python docs/make_reference.py

# torch comes first and alone: with it in place the rest installs nothing more of it
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# mypy and editors do not follow the editable install's import hook: this is the package as a tree of links
$(LINKS): overwatt/__init__.py
	mkdir -p .typing/overwatt
	for part in aoi models pipeline workflows; do ln -sfn ../../$$part .typing/overwatt/$$part; done
	for file in overwatt/*; do ln -sfn ../../$$file .typing/$$file; done
	touch $@

clean:
	rm -rf $(VENV) .typing runs build *.egg-info
