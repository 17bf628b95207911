# Everything there is to do here. `make` alone tells.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
CARGO ?= cargo

# The folder of kube-apiserver, etcd and kubectl, built or found by tests/tools/install; a step of its own so that its failure ends the recipe.
ASSETS = KUBEBUILDER_ASSETS=$$(tests/tools/install); export KUBEBUILDER_ASSETS
# What must never be in the functional core (api, model, plan).
IMPURE = tokio hyper rustls sqlx kube-client

.PHONY: help build demo soak test test-long test-core generate generated ci fmt fmt-check lint bench licenses

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## The binary, optimised: target/release/mailroster
	$(CARGO) build --release --locked

demo: ## Start everything on this machine and show what it does (KEEP=1 leaves it running, CLUSTER=KUBECONFIG uses that cluster)
	@$(ASSETS)
	$(CARGO) build --quiet --locked --bin mailroster --example demo
	"$$($(CARGO) metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples/demo"

soak: ## Random use and faults for SOAK_MINUTES (20), judged by two models; SOAK_SEED=N repeats a run
	@$(ASSETS)
	$(CARGO) build --quiet --locked --bin mailroster --example soak
	"$$($(CARGO) metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples/soak"

test: test-core ## All tests, on real servers; installs what they need first
	@tests/tools/rules
	$(ASSETS)
	tests/tools/run-tests

test-long: ## The tests on the real servers with the sizes and times that take minutes
	@$(ASSETS)
	MAILROSTER_TEST_LONG=1 tests/tools/run-tests --test servers

test-core: ## The functional core compiles without runtime, sockets and database
	@$(CARGO) check --quiet --locked --lib --no-default-features
	tree=$$($(CARGO) tree --locked --no-default-features --edges normal --prefix none)
	for crate in $(IMPURE); do
		if grep -q "^$$crate v" <<<"$$tree"; then
			echo "the functional core depends on $$crate:"
			$(CARGO) tree --locked --no-default-features --edges normal --invert "$$crate"
			exit 1
		fi
	done
	echo "the functional core is free of: $(IMPURE)"

generate: ## Write crds/, manifests/crds.yaml, docs/reference and docs/conditions.md from their source
	@tests/tools/generate

generated: generate ## Fail when a generated file is not up to date
	@changed=$$(git status --porcelain -- crds manifests docs/reference docs/conditions.md)
	if [ -n "$$changed" ]; then
		echo "generated files are not up to date; run make generate and commit:"
		echo "$$changed"
		git --no-pager diff --stat -- crds manifests docs/reference docs/conditions.md
		exit 1
	fi

ci: fmt-check lint generated licenses test ## What .ci/run runs: format, clippy, generated files, licences, tests

fmt: ## Format the source
	$(CARGO) fmt

fmt-check:
	$(CARGO) fmt --check

lint: ## clippy, warnings are errors
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: ## What planning and the controller cost, beside baselines of the same run; writes docs/performance.md (QUICK=1, LONG=1)
	@$(ASSETS)
	$(CARGO) bench --locked

licenses: ## Check the licences and sources of all dependencies (needs cargo-deny)
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then
		echo "licenses: skipped, cargo-deny is not installed (cargo install --locked cargo-deny)"
	else
		$(CARGO) deny --locked check licenses bans sources
	fi

.ONESHELL:
