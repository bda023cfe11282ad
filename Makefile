# Two commands do everything: `make demo` and `make test`. Each sets up .venv when needed and is quick the second time.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
OUT ?= demo-run

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.ready  ## text -> tokenizer -> pre-trained -> fine-tuned -> measured model, in demo-run/ (under ten minutes)
	@$(VENV)/bin/wordloom demo --out $(OUT) --overwrite

test: $(VENV)/.ready-test check  ## style, types and every test
	@$(PY) -m pytest -n 2 --dist worksteal

check: $(VENV)/.ready-test  ## ruff and mypy
	@$(VENV)/bin/ruff check src tests benchmarks && $(VENV)/bin/ruff format --check src tests benchmarks && $(VENV)/bin/mypy

bench: $(VENV)/.ready-bench  ## the side-by-side benchmarks, into benchmarks/results/ (about two hours)
	@for b in token_store pretraining finetuning demo "word2vec speed" "word2vec total" "word2vec scaling" "word2vec_quality subwords"; do \
	set -- $$b; $(PY) benchmarks/$$1.py $$2 || exit 1; done

clean:  ## remove the virtual environment and the demo's run
	rm -rf $(VENV) $(OUT)

define install
	@start=$$SECONDS; [ -x $(PY) ] || { "$(PYTHON)" -m venv $(VENV) && $(PY) -m pip install -q --disable-pip-version-check -U pip -c constraints.txt; }; \
	grep -E '^torch==' constraints.txt | xargs $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt && \
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(1)]' && \
	echo "set-up (packages downloaded and installed): $$((SECONDS - start)) s, not counted below"
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(call install,zh)
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt
	$(call install,zh$(,)test)
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-bench: pyproject.toml constraints.txt
	$(call install,zh$(,)test$(,)bench)
	@touch $@ $(VENV)/.ready $(VENV)/.ready-test

, := ,
.PHONY: help demo test check bench clean
