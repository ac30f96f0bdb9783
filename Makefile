# Every target is one or two lines that you can run by hand. `make` alone reproduces the papers; `make help` lists the rest.
.DEFAULT_GOAL := paper
.PHONY: help setup paper smoke selection notebooks bench test test-workflow test-rest check readme reference lock clean fuzz figures compare artifact test-slurm gpu-bundle gpu-calls gpu-check gpu-import campaign docs

unexport CDPATH PYTHONPATH PYTHONHOME PYTHONSAFEPATH # a module system's packages are for another Python than .venv's

BIN   := .venv/bin
SNAKEMAKE = $(BIN)/python -m tools.single_instance $(BIN)/snakemake
CORES := all# make CORES=4
NODE_PYTHON   :=# of the machine without a network that gpu-bundle is for; the defaults stand in tools/offline_gpu/bundle.py
NODE_PLATFORM :=
NODE_HAS      :=
CAMPAIGN_DEVICE := cpu# whose seconds are counted for the order of `make campaign`: cpu or h100
ARGS  := # more options for snakemake: make ARGS="--config scale=laptop"

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: .venv/.ready ## make .venv with the locked environment

# Set up anew also where .venv/.ready names another folder: this checkout was moved, or copied with the environment of another one.
.venv/.ready: envs/requirements.lock envs/setup.sh pyproject.toml workflow/logger/pyproject.toml $(shell [ "$$(cat .venv/.ready 2>/dev/null)" = "$$(pwd -P)" ] || echo moved)
	@sh envs/setup.sh .venv

.PHONY: moved
moved:

paper: setup ## data, training, every table and figure, the report (the default)
	@$(SNAKEMAKE) --cores $(CORES) $(ARGS)
	@$(BIN)/python -m tools.closing_message $(ARGS)

smoke: setup ## every exhibit end to end on tiny generated data, into .smoke/, in about two minutes
	@OMP_WAIT_POLICY=passive $(SNAKEMAKE) --configfile workflow/smoke.yaml --cores $(CORES) $(ARGS)
	@$(BIN)/python -m tools.closing_message --root .smoke $(ARGS)

notebooks: setup ## every exhibit as an executed notebook in results/notebooks/
	@$(SNAKEMAKE) --cores $(CORES) $(ARGS) notebooks

selection: setup ## search what the papers leave unsaid, on validation images, and keep the choices
	@$(SNAKEMAKE) --cores $(CORES) $(ARGS) selection
	@cp results/selection.yaml workflow/selection/chosen.yaml

bench: setup ## cost tables: a step of each method against a step of SGD
	@$(BIN)/python -m sibp bench

test: setup ## the whole test suite: its two halves at once, each printed when it ends
	@$(MAKE) --no-print-directory --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) test-workflow test-rest

test-workflow: setup # one half of it: what runs Snakemake
	@$(BIN)/python -m pytest tests/workflow

test-rest: setup # the other half
	@$(BIN)/python -m pytest tests --ignore=tests/workflow

docs: setup ## the documentation site, into build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build && echo "build/site/index.html"

check: setup ## formatting, lint, types, and the CPU kernels under sanitizers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/ty check --quiet && $(BIN)/clang-format --dry-run --Werror sibp/kernels/csrc/*pp && $(BIN)/snakefmt --line-length 132 --check Snakefile workflow/rules && $(BIN)/snakemake --lint
	@$(BIN)/python -m tools.sanitize

readme: setup ## refresh what README.md, docs/results.md, docs/exhibits.md and figures/README.md show of the kept results
	@$(BIN)/python -m tools.readme

reference: setup ## keep this run's results in results/reference/; FROM=FOLDER merges finished jobs into those that are kept
	@$(BIN)/python -m tools.reference $(if $(FROM),--from $(FROM))

figures: setup ## every exhibit from the shipped runs in results/reference/, without training, into .redrawn/
	@$(BIN)/python -m tools.redraw

compare: setup ## are this run's results those of results/reference/, up to what seeds explain?
	@$(BIN)/python -m tools.compare

artifact: setup ## one archive of source, lock file, results and descriptions that checks itself, into dist/
	@$(BIN)/python -m tools.artifact

gpu-bundle: setup ## .bundle/, one folder from which a GPU machine without a network trains what is left
	@$(BIN)/python -m tools.offline_gpu.bundle $(if $(NODE_PYTHON),--python $(NODE_PYTHON)) $(if $(NODE_PLATFORM),--platform $(NODE_PLATFORM)) $(if $(NODE_HAS),--has $(NODE_HAS)) $(ARGS)

gpu-calls: setup ## spread .bundle/ over several calls of a machine that takes so much with each: make gpu-calls ARGS="--budget 58"
	@$(BIN)/python -m tools.offline_gpu.calls $(ARGS)

gpu-check: setup ## what only a CUDA device can tell, in under four minutes; make gpu-check ARGS="--device cpu" tries the check itself
	@$(BIN)/python -m sibp check --device cuda $(ARGS)

campaign: setup ## train here what the claims still lack at the papers' size, at low priority, until stopped; ARGS=--status says how far it is
	@test -f .campaign/plan.json || $(BIN)/python -m tools.offline_gpu.bundle --here --scale full --device $(CAMPAIGN_DEVICE) --also cpu h100 --output .campaign
	@nice -n 19 $(BIN)/python .campaign/run.py --by claims --unit ensemble --device auto --out results/campaign $(ARGS)

gpu-import: setup ## take what came back as done: make gpu-import FOLDER=...
	@$(BIN)/python -m tools.offline_gpu.import_runs $(FOLDER)

fuzz: setup ## thousands of broken files, command lines and random networks
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/fuzz

test-slurm: setup ## job arrays and cancelled jobs on a SLURM cluster of one machine: this one; needs root, slurm-wlm and munge
	@sh tests/slurm/run.sh $(BIN)

lock: setup ## resolve envs/requirements.lock anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra workflow --extra test --extra check --extra docs pyproject.toml envs/requirements.in -o envs/requirements.lock

clean: ## remove what the workflow wrote, not the data, the environment or results/reference/
	@rm -rf .smoke .redrawn .snakemake logs figures/*.png figures/*.svg figures/all.md paper/tables paper/figures paper/exhibits paper/report.pdf paper/claims.md results/runs results/costs results/fits results/summary results/data results/notebooks results/provenance.csv results/claims.json results/selection.yaml
