# Every path here is relative, as the folder this lies in may have spaces in its name.

PYTHON ?= python3
ARGS =# flags for the program: make run ARGS="--roles ingress"
DRIVER =# wwebjs: make run starts the bridge too, and waits for a phone
T =# what to test: make test T=tests/unit

PIP = .venv/bin/python -m pip --disable-pip-version-check --no-input
COMPILE = UV_PYTHON_DOWNLOADS=never .venv/bin/python -m uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --custom-compile-command 'make lock' $(ARGS)

BRIDGE = drivers/wwebjs/bridge

.NOTPARALLEL:
.PHONY: help run test bridge wwebjs-crash fault fault-soak fault-mutants bench bench-backlog bench-campaigns bench-claims bench-embedded \
	bench-imports bench-lists bench-meta bench-moves bench-pace bench-telemetry bench-upstream bench-webhooks bench-wwebjs check schemas dashboards \
	sre images-check migrate lock clean FORCE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: .venv/run $(if $(filter wwebjs,$(DRIVER)),bridge) ## Start everything on an embedded database; DRIVER=wwebjs links a phone
	@exec .venv/bin/hantar run $(if $(DRIVER),--driver $(DRIVER)) $(ARGS)

test: .venv/dev ## Run every test on private real servers; T=path chooses some
	.venv/bin/python -m pytest $(if $(T),$(T),-n 2 --dist worksteal)

bench: .venv/dev ## Run the main job, write deploy/performance.md; ARGS=--help lists what can be set
	.venv/bin/python -m tests.bench.job $(ARGS)

bench-backlog: .venv/dev ## A million messages on one slow device: memory, and another device
	.venv/bin/python -m pytest -q -s tests/bench/backlog.py

bench-claims: .venv/dev ## What budgets cost a claim
	.venv/bin/python -m pytest -q -s tests/bench/claims.py

bench-pace: .venv/dev ## How much of their limits one fast and a thousand slow devices use
	.venv/bin/python -m pytest -q -s tests/bench/pace.py

bench-webhooks: .venv/dev ## What three bad webhook endpoints cost seven others
	.venv/bin/python -m pytest -q -s tests/bench/webhooks.py

bench-campaigns: .venv/dev ## Make a campaign of 100,000 while the worker is killed twice
	.venv/bin/python -m pytest -s tests/bench/campaigns.py

bench-moves: .venv/dev ## Pause, resume and cancel twenty campaigns at random; SEED=n repeats one
	SEED=$(SEED) .venv/bin/python -m pytest -q -s tests/bench/moves.py

bench-embedded: .venv/dev ## Import 100,000 and write to them all in one process that is killed four times
	.venv/bin/python -m pytest -q -s tests/bench/embedded.py

bench-telemetry: .venv/dev ## How much of a dispatcher's work metrics and logs are
	.venv/bin/python -m pytest -q -s tests/bench/telemetry.py

bench-imports: .venv/dev ## Import 100,000 contacts while the worker is killed twice
	.venv/bin/python -m pytest -s tests/bench/imports.py

bench-meta: .venv/dev ## A bulk, throttling and a burst of webhooks through the local Cloud API
	.venv/bin/python -m pytest -q -s tests/bench/meta.py

bench-upstream: .venv/dev ## 100,000 sends over AMQP while the intake is killed and RabbitMQ restarted
	.venv/bin/python -m pytest -s tests/bench/upstream.py

bench-lists: .venv/dev ## Time lists of a million rows and show their plans
	.venv/bin/python -m pytest -q -s tests/bench/lists.py

bench-wwebjs: .venv/dev ## A bulk through three linked devices, the bridge killed and a phone unlinked on the way
	.venv/bin/python -m pytest -q -s tests/bench/wwebjs.py

fault: .venv/dev ## Strike with every fault and check that nothing is lost; SEED=n CASE=F40 repeat
	.venv/bin/python -m tests.fault $(if $(SEED),--seed $(SEED)) $(if $(CASE),--case $(CASE))

fault-soak: .venv/dev ## Ten minutes of load under a seeded mix of faults; SEED=n repeats
	.venv/bin/python -m tests.fault.soak $(if $(SEED),--seed $(SEED))

fault-mutants: .venv/dev ## Put twelve known bugs into copies of the tree; each must be found
	.venv/bin/python -m tests.fault.mutants $(if $(SEED),--seed $(SEED))

wwebjs-crash: .venv/dev ## Kill bridge, browser and page 54 times during 200 sends; SEED=n repeats
	.venv/bin/python -m pytest -q -s tests/bench/wwebjs_crashes.py

bridge: $(BRIDGE)/node_modules/.package-lock.json ## Install what the bridge of linked devices needs, by its lock file

check: .venv/dev ## Check format, lint, types and import rules, run the fast tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/python -m mypy --strict
	.venv/bin/lint-imports
	.venv/bin/python -m pytest tests/unit tests/house tests/sre/test_dashboards.py

schemas: .venv/dev ## Write schemas/openapi.json and asyncapi.yaml anew, as the program serves them
	.venv/bin/python -m tests.schemas

dashboards: .venv/dev ## Write deploy/grafana/dashboards anew, as their code says
	.venv/bin/python -m deploy.grafana

sre: .venv/dev ## Verify dashboards and alerts, provoke ten failures under load, print the report
	.venv/bin/python -m pytest -q -s $(wildcard tests/sre/test_*.py) tests/sre/provoked.py

images-check: .venv/dev ## Run the instructions of both Dockerfiles in Debian roots; needs root and debootstrap
	.venv/bin/python -m tests.images

migrate: .venv/run ## Bring the database and the broker to this version
	@exec .venv/bin/hantar migrate $(ARGS)

# What builds the editable install is locked too, so that the project itself needs no network.
lock: .venv/made-by ## Write the lock files anew; ARGS=--upgrade moves every pin
	$(PIP) install --quiet 'uv>=0.13,<0.14'
	printf '%s\n' hatchling editables | $(COMPILE) --extra embedded \
	    --output-file requirements.lock pyproject.toml -
	printf '%s\n' hatchling editables | $(COMPILE) --extra embedded --extra dev \
	    --constraints requirements.lock --output-file requirements-dev.lock pyproject.toml -
	$(COMPILE) --output-file tests/bench/rivals/requirements.lock tests/bench/rivals/requirements.in

clean: ## Remove what was installed and cached; the data in .hantar stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find service drivers schemas deploy tests -name __pycache__ -prune -exec rm -rf {} +

.venv/run: .venv/made-by requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch .venv/run

.venv/dev: .venv/made-by requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch .venv/run .venv/dev # the runtime is a part of it

$(BRIDGE)/node_modules/.package-lock.json: $(BRIDGE)/package.json $(BRIDGE)/package-lock.json
	cd $(BRIDGE) && PUPPETEER_SKIP_DOWNLOAD=1 npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# Names the interpreter and the folder; when either changed, the environment is made anew.
.venv/made-by: FORCE
	@for python in "$(PYTHON)" python3.11 python3.12 python3.13; do \
	    made_by=$$("$$python" -c '$(DESCRIBE)' 2>/dev/null) && break; \
	done; \
	if [ -z "$$made_by" ]; then \
	    echo 'Python 3.11 or newer is needed: apt-get install -y python3 python3-venv' >&2; \
	    exit 1; \
	fi; \
	if [ "$$made_by" = "$$(cat $@ 2>/dev/null)" ] && .venv/bin/python -c ''; then exit; fi; \
	base=$$(echo "$$made_by" | head -n 1); \
	if ! "$$base" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "Python's venv is missing: apt-get install -y $${base##*/}-venv" >&2; \
	    exit 1; \
	fi; \
	rm -rf .venv 2>/dev/null || { $(FOREIGN); }; \
	echo "Making .venv with $$base"; \
	"$$base" -m venv .venv && echo "$$made_by" > $@

FOREIGN = echo 'Remove the folder .venv as the user it belongs to, then try again.' >&2; exit 1

define install
@test -w .venv || { $(FOREIGN); }
@echo "Installing $(1)"
@$(PIP) install --quiet --require-hashes -r $(1)
@$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
endef

DESCRIBE = import os, sys; \
	assert sys.version_info >= (3, 11); \
	print(os.path.realpath(sys.executable), sys.version.split()[0], os.getcwd(), sep="\n")
