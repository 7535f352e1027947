# make reproduce   run the embedded collection's conditions, print the table, write runs and a report to out/
# make test        lint, check types and run the whole test suite
# make fast        lint, check types and run the tests that need neither real models nor minutes
# make models      train the shipped models again and list the files that changed
# make bench       time encoding, generation, augmentation, scoring, search, growth, and each stage of make reproduce
# make fuzz        damage every kind of input file at random for 200 seconds, and run the verbs on it
# make ablations   vary α and the number of queries on the output of make reproduce; writes docs/ablations
# make docs        regenerate the generated parts of the documentation
# make data        rebuild the embedded collection

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: reproduce test fast lint models bench fuzz ablations docs data clean

reproduce: $(STAMP)
	$(BIN)/python -m xqg_repro.2cr.xor_mini --all --directory out --output out/report.html

test: fast
	$(BIN)/python -m pytest -m integration --ignore=tests/retrieval
	$(BIN)/python -m pytest -m integration tests/retrieval  # Java, in a process without a browser and twenty models

fast: $(STAMP) lint
	$(BIN)/python -m pytest -m "not integration" -n 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

models: $(STAMP)
	$(BIN)/xqg-repro train xdr --recipe xdr-mini --output xqg_repro/resources/models/xdr-mini --force
	$(BIN)/xqg-repro train xdr --recipe xlmr-mini --output xqg_repro/resources/models/xlmr-mini --force
	$(BIN)/xqg-repro train xdr --recipe zs-mini --output xqg_repro/resources/models/zs-mini --force
	$(BIN)/xqg-repro train reader --recipe reader-mini --output xqg_repro/resources/models/reader-mini --force
	$(BIN)/xqg-repro train xqg --recipe xqg-mini --output xqg_repro/resources/models/xqg-mini --force
	git --no-pager diff --stat -- xqg_repro/resources/models

bench: $(STAMP)
	$(BIN)/python scripts/bench/bench.py
	$(BIN)/python scripts/bench/scoring.py
	$(BIN)/python scripts/bench/stages.py
	$(BIN)/python scripts/bench/growth.py
	$(BIN)/python scripts/bench/exact.py --output out/benchmarks-search.md

fuzz: $(STAMP)
	$(BIN)/python scripts/fuzz.py

ablations: $(STAMP)
	$(BIN)/python scripts/ablations/alpha.py
	$(BIN)/python scripts/ablations/reading.py
	$(BIN)/python scripts/ablations/filter.py

docs: $(STAMP)
	$(BIN)/python scripts/docs.py

data: $(STAMP)
	$(BIN)/python scripts/xor_mini/build.py

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install -qq --constraint constraints.txt --build-constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
