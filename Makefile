# ModelOps Coordinator. `make help` lists the targets; a fresh machine needs nothing but Go.
SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/modelops
TOOLS   := go tool -modfile=$(CURDIR)/.ci/tools/go.mod
# The race detector needs a C compiler; without one the tests run all the same.
RACE    := $(shell command -v $${CC:-gcc} >/dev/null 2>&1 && [ "$${CGO_ENABLED:-1}" != 0 ] && echo -race)
PKGS    := ./...
# $(call first,FLAGS) says that a build takes minutes when the build cache lacks the largest dependency.
first    = @[ "$$(GOPROXY=off go list $(1) -f '{{.Stale}}' github.com/nats-io/nats-server/v2/server 2>/dev/null)" = false ] || \
	echo "the first build on a machine fetches and compiles all dependencies: it takes some minutes" >&2

# Tests of several hosts in the laboratory. They run in e2e too.
LAB := TestChaosPartitions|TestChaosHostKills|TestClusterAgreesAfterCuts|TestLabHosts|TestClusterOutlivesADeadHost|TestS13HostDiesMidLoad|TestS14SlowNetworkStartsNoSecondInstance|TestS15InstanceStoppedElsewhere|TestS16BusyBackendAtThePeer|TestS27EditedAtThePeer|TestS29StaleArbiter|TestASlowLinkCostsOnlyItself|TestStrangersOfTheNetwork|TestArbiterMoves|TestReplicasAreOnBothHosts|TestPlacementOnTheOtherHost

.PHONY: lab help build run test lint generate freeze cluster scale bench soak flood chaos e2e deps clean

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## build bin/modelops
	$(call first,-trimpath)
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/modelops ./cmd/modelops

run: build ## build and start one host on cluster.yaml, ask it a question, stay up
	bin/modelops serve --config cluster.yaml --ask "What is the capital of France?"

cluster: build ## run main_pc and pc2 as one cluster on this machine, print a tour, stay up
	deploy/cluster.sh

scale: build ## 2, 4 and 8 hosts as one cluster on this machine: what each costs the others, into docs/scaling.md
	deploy/scale.sh

# Some tests use the real engine and are skipped without it. CI skips nothing, so it makes the engine first.
test: $(if $(filter true,$(CI)),deps) ## run the tests (with the race detector where there is a C compiler)
	$(call first,$(RACE))
	go test $(RACE) -timeout 20m $(PKGS)

lint: ## formatting, vet, house rules, generated files, protobuf lint
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	go vet $(PKGS)
	go vet -tags e2e ./cmd/...
	CGO_ENABLED=0 go build -o /dev/null ./cmd/modelops
	go mod tidy -diff
	cd messages && $(TOOLS) buf lint
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code -- messages docs bridges/nvml/calls.h || { echo "generated files differ: commit what 'make generate' made"; exit 1; }
	go test -run 'House' .

generate: ## remake generated code and documents
	go generate ./messages ./bridges/config ./bridges/nvml ./bridges/telemetry

freeze: ## lock what is new in the schema, and record it in the golden journals: from then on it only grows
	go test ./messages -count 1 -run OnlyGrow -update
	go test ./journal -count 1 -run Golden -update

bench: build ## measure the budgets of one host and write docs/benchmarks.md's table
	MODELOPS_BIN=$(CURDIR)/bin/modelops go test -tags e2e -count 1 -timeout 40m -run 'TestBudgets' -v ./cmd/modelops/e2e

soak: build ## ten minutes (SOAK=10m) of a random crowd: twelve models on two simulated devices
	MODELOPS_BIN=$(CURDIR)/bin/modelops go test -tags e2e -count 1 -timeout 180m -run 'TestSoakDevices' -v ./cmd/modelops/e2e

flood: build ## a million requests (SOAK_REQUESTS) through the HTTP path; memory, goroutines and descriptors before and after
	MODELOPS_BIN=$(CURDIR)/bin/modelops go test -tags e2e -count 1 -timeout 120m -run 'TestFlood' -v ./cmd/modelops/e2e

chaos: build ## KILLS=100 kills in each of five works, INPUTS=1000 malformed inputs a door, no descriptors, a full disk, no journal for OUTAGE=2m, jumps of the clock, PARTITIONS=50 and HOST_KILLS=200 of two hosts; ledger, processes and journal are compared
	MODELOPS_BIN=$(CURDIR)/bin/modelops KILLS=$(or $(KILLS),100) INPUTS=$(or $(INPUTS),1000) FILLS=$(or $(FILLS),10) OUTAGE=$(or $(OUTAGE),2m) \
	PARTITIONS=$(or $(PARTITIONS),50) PARTITION_TIME=$(or $(PARTITION_TIME),60s) HOST_KILLS=$(or $(HOST_KILLS),200) \
	go test -tags e2e -count 1 -timeout 300m -run '$(or $(CHAOS),TestChaos)' -v ./cmd/modelops/e2e

e2e: build deps ## the built binary against real engines, NATS and clients, with kill -9
	MODELOPS_BIN=$(CURDIR)/bin/modelops LLAMA_SERVER=$(CACHE)/engine/llama-server MODELOPS_CACHE=$(CACHE) \
	go test -tags e2e -count 1 -parallel 4 -timeout 30m $(E2E_FLAGS) -skip "TestBudgets|TestSoak|TestFlood|TestChaosClock" ./cmd/...

lab: build deps ## several hosts in a network of the tests: cuts, dead hosts, slow links, strangers
	MODELOPS_BIN=$(CURDIR)/bin/modelops LLAMA_SERVER=$(CACHE)/engine/llama-server MODELOPS_CACHE=$(CACHE) \
	go test -tags e2e -count 1 -timeout 60m -v -run '$(LAB)' ./cmd/modelops/e2e

deps: ## fetch and build what e2e needs: llama-server, grpcurl, nats, the OpenAI SDK (idempotent)
	CACHE=$(CACHE) .ci/deps

clean: ## remove what was built here (the cache in ~/.cache/modelops stays)
	rm -rf bin build
