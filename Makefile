# The suite's commands. Each sets up what it needs first; `make help` lists them.
PYTHON ?= python3
STACK  ?= auto
WORKERS ?= 2
PY     := .venv/bin/python
export STACK NAME
# Python keeps what it compiled: a process of the stack or of a test would compile the members anew, for 0.7 s of a core.
unexport PYTHONDONTWRITEBYTECODE
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml simulators/*/pyproject.toml deploy/*/pyproject.toml))
SETUP  := @$(PYTHON) deploy/local/setup_workspace.py

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup up down roll status logs operate demo test images images-offline simulate k8s-render k8s-check k8s-up k8s-down bench chaos chaos-proof lint format types walls dependencies contracts-check roster-check generate new-service check audit lock clean

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from requirements.lock and fetch Kafka (done by every other command too)
	$(SETUP)

up: ## start the local stack and print its addresses
	$(SETUP)
	@$(PY) -m local_stack up

down: ## stop the local stack (WIPE=1 deletes its data)
	$(SETUP) --no-jars
	@$(PY) -m local_stack down $(if $(WIPE),--wipe)

roll: ## replace the services' containers one by one while they work (COMPOSE_PROFILES=replicas make up has two of each)
	$(SETUP) --no-jars
	@$(PY) -m local_stack roll

status: ## what runs and where it answers
	$(SETUP) --no-jars
	@$(PY) -m local_stack status

logs: ## follow the logs (NAME=scheduler-sync for one)
	$(SETUP) --no-jars
	@$(PY) -m local_stack logs $(NAME)

operate: ## a service's own command on the stack (CMD="scheduler-sync needs-setup list"; CMD="scheduler-sync --help")
	$(SETUP) --no-jars
	@$(PY) -m local_stack operate $(or $(CMD),--help)

demo: ## play the guide's story on the stack, then in volume, and count at both ends
	$(SETUP)
	@$(PY) -m local_stack up
	@$(PY) -m demo_story $(DEMO)

test: ## all tests, on a real Kafka and Postgres (ARGS="-k relay" for some; AFFECTED=main for what a change reaches; SUITE_DEPTH=full before a release)
	$(SETUP)
	@$(PY) -m $(if $(AFFECTED),tests.affected $(AFFECTED),pytest) $(if $(ARGS),$(ARGS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder) \
		$(if $(filter full,$(SUITE_DEPTH)),--depth-report docs/operations/full-report.json)

images: ## build the images of services and simulators (IMAGES=<name> for one; BASE_IMAGE=… for a base of your own)
	$(SETUP) --no-jars
	@$(PY) -m local_stack images $(IMAGES)

images-offline: ## the same where no image registry answers: base, Kafka, Postgres and Compose from packages (as root)
	$(SETUP)
	@$(PY) -m local_stack images --offline $(if $(FRESH),--fresh)

k8s-render: ## print the manifests of an overlay (OVERLAY=local, production or platform)
	$(SETUP) --no-jars
	@$(PY) -m k8s_deploy render $(OVERLAY)

k8s-check: ## manifests against three Kubernetes versions' schemas, the promised properties and the services' settings
	$(SETUP) --no-jars
	@$(PY) -m k8s_deploy check

k8s-up: ## the whole suite on the cluster of the current context, then the demo (DEMO="--appointments 50")
	$(SETUP) --no-jars
	@$(PY) -m k8s_deploy up $(if $(DEMO),--demo="$(DEMO)")

k8s-down: ## delete the suite from the current context
	$(SETUP) --no-jars
	@$(PY) -m k8s_deploy down

simulate: ## the chassis under a seeded scheduler with faults (SEEDS=100000; SEED=n replays one with its trace)
	$(SETUP) --no-jars
	@$(PY) tests/simulation/simulate.py $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

bench: ## the speed marks, each beside its floor (ROWS="p1 p6" for some, LONG=10 to hold P3's load for as many minutes)
	$(SETUP)
	@$(PY) -m bench $(ROWS) $(if $(LONG),--long $(LONG))

chaos: ## kill, cut and delay everything from a seed, then count at both ends (RUNS=n SEED=s REPLICAS=2 CHAOS="--help")
	$(SETUP)
	@$(PY) -m tests.chaos $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED)) $(if $(REPLICAS),--replicas $(REPLICAS)) $(CHAOS)

chaos-proof: ## see the harness fail: three promises broken on purpose, each caught
	$(SETUP)
	@$(PY) -m pytest tests/chaos/proof.py -s

lint: ## ruff
	$(SETUP) --no-jars
	@ruff check . && ruff format --check .

format: ## ruff, writing
	$(SETUP) --no-jars
	@ruff check --fix . ; ruff format .

types: ## mypy --strict
	$(SETUP) --no-jars
	@mypy

walls: ## import-linter: who may import whom
	$(SETUP) --no-jars
	@lint-imports

contracts-check: ## generated schemas are current, and no released message was broken
	$(SETUP) --no-jars
	@$(PY) -m contracts generate --check
	@$(PY) -m contracts check

roster-check: ## the members' files are good, what is generated from them is current, and the code hears what they say
	$(SETUP) --no-jars
	@$(PY) -m roster generate --check

generate: ## write what follows from the members' service.toml and simulator.toml
	@test -x $(PY) || $(PYTHON) deploy/local/setup_workspace.py --no-jars
	@$(PY) -m roster generate # before the set-up: uv refuses a new member that pyproject.toml does not name yet
	$(SETUP) --no-jars

dependencies: ## deptry: each member declares what it imports, and imports what it declares
	$(SETUP) --no-jars
	@for member in $(MEMBERS); do \
		said=$$(cd $$member && deptry src 2>&1) || { echo "$$member: $$said"; exit 1; }; done

new-service: ## make a service that passes every check (NAME=form-router): CONTRIBUTING.md says what to change in it
	$(SETUP) --no-jars
	@$(PY) -m roster new -- "$$NAME"
	$(SETUP) --no-jars
	@$(PY) -m roster generate # docs/operations/access.md follows from the new routes

check: types lint walls dependencies contracts-check roster-check ## all static checks (-j2 runs them side by side: the types take longest)

audit: ## known vulnerabilities of what is locked; fails as well where the index cannot say
	$(SETUP) --no-jars
	@pip-audit -r requirements.lock --disable-pip --strict

lock: ## resolve dependencies anew into requirements.lock (hashes, no addresses)
	@uv lock --upgrade
	@uv export -q --all-packages --all-groups --no-emit-workspace --format requirements.txt -o requirements.lock

clean: ## delete .venv and all local data (the stack must be down)
	@rm -rf .venv .local
