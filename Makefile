# The front door. Each target is one script in scripts/; `make help` lists them.
#
# PG_CONFIG=/path/to/pg_config   the Postgres to build for (default: Debian's postgresql-$(PG_MAJOR))
# PE_STATE=/some/dir             where private clusters live (default: below /var/tmp)

.DEFAULT_GOAL := help
.PHONY: help build start stop psql clean-cluster

help: ## print this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

build: ## build the release library and stage it into the private Postgres
	@scripts/prefix.sh
	@scripts/build.sh
	@scripts/stage.sh --private

start: build ## (re)start the private development cluster with what was built
	@scripts/cluster.sh restart

stop: ## stop the private development cluster
	@scripts/cluster.sh stop

psql: ## connect to the private development cluster
	@scripts/cluster.sh start
	@scripts/cluster.sh psql -d postgres

clean-cluster: ## stop every private cluster of this checkout and remove the private Postgres
	@scripts/clean.sh
