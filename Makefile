# Everything that is built is cached outside the checkout; set BASTION_CACHE to say where.
BASTION_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bastion-operator
export BASTION_CACHE
export CARGO_TARGET_DIR ?= $(BASTION_CACHE)/target

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: PREPARE_FOR = demo
demo: tools ## Start a bastion on a real API server and show what ends a session, and how fast
	@hack/cargo-build --bin bastion --bin demo
	@hack/own-network "$(CARGO_TARGET_DIR)/debug/demo"

.PHONY: clippy
clippy: web ## Check the format and the imports, and run clippy with warnings as errors
	cargo fmt --all --check
	hack/module-graph
	cargo clippy --workspace --all-targets --quiet -- -D warnings

.PHONY: check
check: clippy ## Check the format, lints, unit tests and generated files: the loop while editing
	cargo test --lib --quiet
	hack/vendor-russh --check
	cd web && npm test --silent
	@hack/chart-docs | diff -u charts/bastion/README.md - || { echo "charts/bastion/README.md is out of date: run make generate"; exit 1; }
	@"$$(hack/build-tools actionlint)/actionlint" -no-color && echo "workflows: nothing wrong"
	@! grep -nE 'uses: [^#]+@v[0-9]' .github/workflows/* || { echo "pin each action by the digest of its release"; exit 1; }

.PHONY: test
test: ## Run every test, against a real API server, a real sshd and the real ssh, and on a real node
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory -j1 e2e-test node-test

.PHONY: e2e-test
e2e-test: tools chart-test alert-test russh-test ## Run the tests of the model, the chart, the alerts, the programs, the load and two versions
	@hack/cargo-build --bins --tests
	cargo test --test model -- --nocapture --test-threads 12
	@hack/build-tools versitygw >/dev/null && hack/build-tools oidc-provider >/dev/null
	hack/own-network cargo test --test e2e
	hack/own-network cargo test --test load -- --nocapture
	previous=$$(hack/previous-version) && BASTION_PREVIOUS="$$previous" hack/own-network cargo test --test versions
	ROBUSTNESS_SEED=1 ROBUSTNESS_MINUTES=2 hack/own-network "$(CARGO_TARGET_DIR)/debug/robustness"

.PHONY: russh-test
russh-test: ## Test the patches of the SSH library
	@cp Cargo.lock third_party/russh/
	cargo test --quiet --manifest-path third_party/russh/Cargo.toml --lib tests::peer

.PHONY: chart-test
chart-test: ## Test how the chart renders, and which values it refuses
	@hack/chart-test

.PHONY: alert-test
alert-test: ## Test each alert, its runbook, and the queries of the dashboard
	@hack/alert-test

.PHONY: node-test
node-test: tools ## Test the chart on a one-node cluster, which takes root, or on the one that BASTION_KUBECONFIG names
	@hack/cargo-build --bin bastion --test node
	previous=$$(hack/previous-version) && BASTION_PREVIOUS="$$previous" hack/cluster cargo test --test node -- --test-threads 3 --nocapture

.PHONY: dashboard
dashboard: tools ## Draw docs/dashboard.svg from what a bastion on a node says in some minutes of use; takes root
	@hack/cargo-build --bin bastion
	@hack/dashboard

.PHONY: web
web: ## Build the console's page, which cargo makes a part of the program
	@hack/build-web

.PHONY: fuzz
fuzz: tools ## Fuzz the untrusted input for FUZZ_SECONDS (60) a target; fails on a finding
	@hack/fuzz

.PHONY: robustness
robustness: tools ## Break a bastion at random for ROBUSTNESS_MINUTES (15), and check the guarantee over what was recorded
	@hack/cargo-build --bin bastion --bin robustness
	@hack/own-network "$(CARGO_TARGET_DIR)/debug/robustness"

.PHONY: versions-test
versions-test: tools ## Test the programs of the version before beside those of this one
	@hack/cargo-build --bin bastion --test versions
	previous=$$(hack/previous-version) && BASTION_PREVIOUS="$$previous" hack/own-network cargo test --test versions

.PHONY: bench
bench: tools ## Measure speed and cost beside an OpenSSH bastion, and ends, in the cluster and on a page, against a bare status patch
	@hack/cargo-build --release -p bastion-operator --bin bastion
	@hack/cargo-build --bin bench
	@for figures in speed ends page; do \
	  BASTION_PROGRAM="$(CARGO_TARGET_DIR)/release/bastion" hack/own-network "$(CARGO_TARGET_DIR)/debug/bench" $$figures || exit; \
	done

.PHONY: lint
lint: clippy ## Check the format and the imports, run clippy, and cargo-deny where it is installed
	@if command -v cargo-deny >/dev/null; then cargo deny check && hack/advisories; else echo "cargo-deny is not installed: dependencies not checked"; fi

.PHONY: generate
generate: ## Write what is generated: crds/, docs/reference.md and charts/bastion/README.md
	cargo run --quiet --bin bastion -- crds > crds/bastion.dev.yaml.new && mv crds/bastion.dev.yaml.new crds/bastion.dev.yaml
	GENERATE=1 cargo test --quiet --lib docs_reference_is_up_to_date
	hack/chart-docs > charts/bastion/README.md.new && mv charts/bastion/README.md.new charts/bastion/README.md

.PHONY: tools
tools: ## Install and build what the demo and the tests need
	@hack/prepare $(PREPARE_FOR)
	@hack/build-tools >/dev/null
	@hack/build-web
