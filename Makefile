# The front door. Each target is one script in scripts/; `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test build install model bench lint start stop psql clean-cluster quality soak \
        all dist package package-pg17 test-package test-package-pg17 test-pg17 test-pg18 check-majors

# Read by the scripts when set, on the command line or in the environment.
export PG_CONFIG PG_MAJOR PE_STATE MODEL_SRC
# KEEP=1: the results go to benches/results.
export BENCH_KEEP = $(KEEP)

help: ## print this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 28
	@echo
	@echo "  PG_CONFIG=/path/to/pg_config   the Postgres to build for (default: Debian's version PG_MAJOR, 15)"
	@echo "  LAYERS=\"lint engine\"           for make test: only these (lint engine build regress sessions)"
	@echo "  PE_STATE=/some/dir             where private clusters live (default: below /var/tmp)"

setup: ## install what is missing to build and test (Debian packages, Rust toolchain, cargo-pgrx, .venv)
	@scripts/setup.sh

demo: ## set up, build, and run the workflows on generated data in a private cluster
	@scripts/demo.sh

test: ## set up, build, and run every test layer; ends in one line "N passed, N failed"
	@scripts/test.sh $(LAYERS)

build: ## build the release library and stage it into the private Postgres
	@scripts/prefix.sh
	@scripts/build.sh
	@scripts/stage.sh --private

install: ## install into a Postgres of yours: make install PG_CONFIG=/path/to/pg_config
	@scripts/install.sh

model: ## fetch and convert the text model and its runtime (for the text functions); MODEL_SRC=/dir for another model
	@scripts/model.sh

bench: ## benchmarks: the engine's, then those in a private cluster; KEEP=1 keeps the results in benches/results
	@scripts/bench.sh

soak: ## the long forms of the fault tests: hours; one part: scripts/soak.sh crash
	@scripts/soak.sh

quality: ## how good the embeddings are: same-sector precision of every model, neighbours of well-known names
	@scripts/quality.sh

lint: ## formatting, clippy on both floors, dependencies, shell and Python files
	@scripts/lint.sh

package: ## Debian packages in build/packages: the extension for PG_MAJOR, the text model, the ONNX Runtime library
	@scripts/package.sh

test-package: ## install these packages into an untouched Debian 12 without network, and run the demo there (as root)
	@scripts/test-package.sh bookworm 15

test-pg17: ## the SQL test suite on PostgreSQL 17 of Debian 13, in a directory of its own (as root)
	@scripts/debian.sh trixie 17 scripts/test.sh build regress sessions

test-pg18: ## likewise on PostgreSQL 18 of Debian 14
	@scripts/debian.sh forky 18 scripts/test.sh build regress sessions

package-pg17: ## the packages for PostgreSQL 17 of Debian 13, in build/packages-17
	@scripts/debian.sh trixie 17 scripts/package.sh

test-package-pg17: ## likewise for those, in an untouched Debian 13
	@PE_PACKAGES=build/packages-17 scripts/test-package.sh trixie 17

check-majors: ## type-check for every supported version of PostgreSQL, installed or not
	@scripts/check-majors.sh

dist: ## the archive for PGXN, of what is committed: build/prometheus_embed-VERSION.zip
	@scripts/dist.sh

# What clients of PGXN call before `make install`.
all: build

start: build ## (re)start the private development cluster with what was built
	@scripts/cluster.sh restart

stop: ## stop the private development cluster
	@scripts/cluster.sh stop

psql: ## connect to the private development cluster
	@scripts/cluster.sh start
	@scripts/cluster.sh psql -d postgres

clean-cluster: ## stop every private cluster of this checkout and remove the private Postgres and Debian systems
	@scripts/clean.sh
