# The two commands of the README are `make quickstart` and `make test`; both do all the set-up.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install quickstart test test-slow test-slurm test-d4rl gpu bundle reproduction reading claims lint lock clean

# The first target: `make` alone says what there is.
help:
	@echo "make quickstart   train bc, fql and rql on generated data, then tables and figures (minutes)"
	@echo "make test         the tests (minutes); test-slow trains, test-slurm brings up a Slurm, test-d4rl needs packages"
	@echo "make reproduction our own numbers: every algorithm on two of the 50 tasks (a day on 2 cores, goes on when stopped)"
	@echo "make reading      tables, comparisons and figures of the numbers that are there (seconds)"
	@echo "make claims       the paper's claims tried at that size, on runs of its own (hours, goes on when stopped)"
	@echo "make lint         ruff, types, and the staircase of imports"
	@echo "make install      the virtual environment alone, in $(VENV)"
	@echo "make gpu          what is to be measured on a GPU, block by block"
	@echo "make bundle       an archive for machines without internet: FOR=additions, cpu or cuda; TARGET_PYTHON=3.11"
	@echo "make lock         new exact versions from the ranges of the requirements"
	@echo "make clean        remove $(VENV) and runs/"

install: $(STAMP)

$(STAMP): requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or later found; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

quickstart: install
	$(BIN)/python run_all.py --suite=quickstart

test: install
	$(BIN)/python -m pytest -n 2 --dist=loadfile -m "not slow and not slurm"

# Real training: every algorithm on the toy suite, killed runs, other real environments. Some ten minutes on 2 cores.
test-slow: install
	$(BIN)/python -m pytest -n 2 --dist=loadfile -m slow

# The launcher on a real Slurm of two nodes on this machine, from Debian's packages: needs root, says so where it fails.
test-slurm: install
	tests/slurm/up.sh .slurm >/dev/null || { tests/slurm/down.sh .slurm; exit 1; }
	SLURM_CONF=$(CURDIR)/.slurm/etc/slurm.conf $(BIN)/python -m pytest -m slurm -s; \
	  code=$$?; tests/slurm/down.sh .slurm; exit $$code

# D4RL's environments beside its own code, of which only what needs no mujoco_py is run. Adds packages to .venv.
test-d4rl: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -r requirements-d4rl.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps d4rl==1.1
	$(BIN)/python -m pytest tests/envs/test_d4rl.py tests/envs/test_d4rl_source.py -m "slow or not slow"

# What is to be measured on a GPU, where requirements-gpu.lock is installed in .venv, in blocks of at most nine minutes;
# given again, it goes on with those whose rows are not there. AUTHORS are checkouts of github.com/aoberai/rql and
# github.com/ColinQiyangLi/qam, AUTHORS_PYTHON a Python that has what they import; BLOCKS=1 does the next block alone.
# First: .venv/bin/pip install -r requirements-gpu.lock
AUTHORS := ../rql ../qam
AUTHORS_PYTHON := $(BIN)/python
gpu: install
	$(BIN)/python -m benchmark.gpu $(if $(AUTHORS),--authors $(AUTHORS) --authors-python $(AUTHORS_PYTHON)) \
	  $(if $(BLOCKS),--blocks=$(BLOCKS))

# One archive for machines that reach no package registry: docs/launching.md. DATASETS=scene-play-v0,... takes data along.
FOR := cpu
TARGET_PYTHON := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
bundle: install
	$(BIN)/python -m benchmark.bundle --for=$(FOR) --python=$(TARGET_PYTHON) $(if $(DATASETS),--datasets=$(DATASETS))

# Our own numbers, task by task: what is in results/reproduction/small is not trained again, what has finished is added
# to it after each task. Hours; stopped, it goes on from there.
reproduction: install
	mkdir -p runs/small results/reproduction/small
	cp -Rn results/reproduction/small/. runs/small/
	for task in puzzle-3x3-play scene-play; do \
	  $(BIN)/python run_all.py --suite=small --tasks=$$task-singletask-task1-v0 --jobs=2; \
	  $(BIN)/python -m analysis.submit --runs runs/small --out results/reproduction/small || exit 1; done
	$(MAKE) reading

# What is made of the records that are there: tables, comparisons, figures and a page, in runs/reading. Seconds.
OURS := results/reproduction
reading: install
	mkdir -p runs/reading
	$(BIN)/python -m analysis.verify $(OURS)/small
	for table in task seeds returns order cost; do $(BIN)/python -m analysis.tables --runs $(OURS)/small \
	  --table=$$table $$(test $$table = order && echo --across-regimes) || exit 1; done
	$(BIN)/python -m analysis.compare --runs $(OURS)/small --baseline rql --by overall,task
	$(BIN)/python -m analysis.compare --runs $(OURS)/small --baseline bc --by task --measure=return
	for agent in rql ifql fql qam cgql; do for measure in success return; do \
	  $(BIN)/python -m analysis.compare --runs $(OURS)/same_experiment --baseline "$$agent ($$agent-authors)" \
	    --agents $$agent --by task --measure=$$measure || exit 1; done; done
	for runs in small same_experiment antmaze; do \
	  $(BIN)/python -m analysis.figures --runs $(OURS)/$$runs --out runs/reading/$$runs || exit 1; done
	$(BIN)/python -m analysis.figures --claims $(OURS)/claims.json --out runs/reading/claims
	$(BIN)/python -m analysis.report --runs $(OURS)/small --out runs/reading/small.html

# The paper's claims at the size of `small`, evaluated at the end alone: rql and tfql, also with other numbers of flow
# steps, and for the cost of their updates a seed of fbrac and bam, with their states kept; rql with other expectiles and
# with depths of reversal all continuous or all on the grid, and its policies with other flow steps at test time.
TASK := puzzle-3x3-play-singletask-task1-v0
VARIANT = $(BIN)/python run_all.py --suite=small --protocol=small_end --tasks=$(TASK) --out=runs/claims
CLAIMED = runs/claims/$(1)/$(TASK)/seeds-0$(2)
BY_STEPS := rql tfql rql_3_steps rql_5_steps tfql_3_steps tfql_5_steps
ABLATED := rql_expectile_05 rql_expectile_09 rql_continuous_0_5 rql_continuous_0_0 rql_continuous_1_0
claims: install
	$(VARIANT) --agents=rql,tfql --keep-checkpoints --jobs=2
	$(VARIANT) --agents=fbrac,bam --keep-checkpoints --jobs=2 --seeds=0
	for steps in 3 5; do for agent in rql tfql; do \
	  $(VARIANT) --agents=$$agent --set flow_steps=$$steps --label=$${agent}_$${steps}_steps --keep-checkpoints || exit 1; \
	  done; done
	for tenths in 5 9; do \
	  $(VARIANT) --agents=rql --set expectile=0.$$tenths --label=rql_expectile_0$$tenths || exit 1; done
	for share in 0.0 0.5 1.0; do $(VARIANT) --agents=examples/rql_ablations.py --set alpha=1 --set expectile=0.7 \
	  --set continuous=$$share --label=rql_continuous_$$(echo $$share | tr . _) || exit 1; done
	$(BIN)/python -m benchmark.evaluate --run $(call CLAIMED,rql_continuous_0_5,-2) --episodes=20 \
	  --sweep acting_steps=1,3,5,10,20
	$(BIN)/python -m benchmark.claims --out runs/claims/claims.json --runs \
	  $(foreach label,fbrac bam,$(call CLAIMED,$(label))) \
	  $(foreach label,$(BY_STEPS),$(call CLAIMED,$(label),-2)) \
	  --ablations $(foreach label,$(BY_STEPS) $(ABLATED),$(call CLAIMED,$(label),-2))
	$(BIN)/python -m analysis.figures --runs runs/claims --claims runs/claims/claims.json --out runs/claims/figures

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# New exact versions from the ranges: resolve in an empty environment, then write them down. What a GPU needs besides is
# resolved from the packages' metadata alone: the CUDA libraries are gigabytes.
lock:
	rm -rf .lock-venv && $(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --upgrade -r requirements-dev.txt
	{ echo "# Exact versions, written by \`make lock\` from requirements-dev.txt"; \
	  .lock-venv/bin/python -m pip freeze; } > requirements.lock
	.lock-venv/bin/python -m pip install --quiet --dry-run --only-binary :all: --report .lock-venv/gpu.json \
	  -c requirements.lock -r requirements-gpu.txt
	{ echo "# Exact versions, written by \`make lock\` from requirements-gpu.txt"; echo "-r requirements.lock"; \
	  .lock-venv/bin/python -c "import json; print(*sorted('{name}=={version}'.format(**wanted['metadata']) \
	    for wanted in json.load(open('.lock-venv/gpu.json'))['install']), sep='\n')"; } > requirements-gpu.lock
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) runs
