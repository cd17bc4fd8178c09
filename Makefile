# The only entry point: `make help` lists what there is. The scripts are in pg_regress/bin.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory
BIN := pg_regress/bin
# Else it would be make's name for the assembler.
AS :=

##@ Try it
.PHONY: up down psql env
up: ## start a private server with the demo database, and the daemon; show what alice and bob see
	@$(BIN)/up
psql: ## open a session on it; AS=alice as that user
	@$(BIN)/psql "$(AS)"
env: ## print PGHOST … and BR_HOST, BR_ADMIN_USER, BR_ADMIN_PASSWORD: eval "$$(make env)"
	@$(BIN)/print-env
down: ## stop both, their data stays
	@$(BIN)/down

##@ Test it
.PHONY: test test-matrix test-core regress crash copies machine upgrade oracle soak daemon daemon-generated api tour bench lint lint-deps engine
test: ## everything on PostgreSQL 15 and 18, PostgreSQL's own suites on 15
	@$(BIN)/test-all 15 18
test-matrix: ## the same on PostgreSQL 15, 16, 17 and 18
	@$(BIN)/lint-deps
	@$(BIN)/test-all 15 16 17 18
test-core: ## PostgreSQL's own suites with the library preloaded; PG=18 on that major
	@$(BIN)/core $(or $(PG),15)
regress: ## regression and isolation suites; PG=18 on that major, TESTS="a b" only these
	@$(BIN)/regress $(or $(PG),15) $(TESTS)
crash: ## kills processes under load: each statement is recorded exactly once; PG=18 on that major, ARGS="--rounds 9"
	@$(BIN)/crash $(or $(PG),15) $(ARGS)
copies: ## the audit on standbys, in base backups, after recovery and restore; PG=18 on that major
	@$(BIN)/copies $(or $(PG),15)
machine: ## the audit with the clock set back, in single-user mode, on full disks; PG=18 on that major
	@$(BIN)/machine $(or $(PG),15)
upgrade: ## pg_upgrade from 15 to 18
	@$(BIN)/upgrade 15 18
oracle: ## random statements against filtered and masked copies; PG=18 on that major, ARGS="--seed 7" replays
	@$(BIN)/oracle $(or $(PG),15) $(ARGS)
soak: ## the same for SECONDS=3600, or as long as it is told
	@$(BIN)/oracle $(or $(PG),15) --seconds $(or $(SECONDS),3600)
daemon: ## tests of the daemon; PG=18 on that major, TESTS="a b" only those whose name contains one of them
	@$(BIN)/daemon $(or $(PG),15) $(TESTS)
api: ## requests made up from docs/openapi.json; PG=18 on that major, ARGS="--seed 7" for others
	@$(BIN)/api $(or $(PG),15) $(ARGS)
tour: ## make up, and what the README shows of it
	@$(BIN)/tour
daemon-generated: ## bring docs/openapi.json and daemon/.sqlx up to date
	@$(BIN)/daemon-generated
bench: ## ratios against no policy, hand-written SQL and native RLS
	@bench/run
lint: ## formatting, clippy, shell scripts, test schedules
	@$(BIN)/lint
lint-deps: ## licences and sources of dependencies; installs cargo-deny
	@$(BIN)/lint-deps
engine: ## rebuild engine/engine.wasm, the JavaScript engine of decision functions, byte for byte
	@engine/build

##@ Clean up
.PHONY: clean help
clean: ## stop the server, remove everything that was built or generated in this clone
	@$(BIN)/clean
help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
