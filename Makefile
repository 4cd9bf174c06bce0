# Sallyport on Debian 12. Every target installs what it needs (make deps) and runs as root.
# The Go toolchain is the one that scripts/go finds.
SHELL := /bin/bash
GO := scripts/go
export CGO_ENABLED := 1

FUZZTIME ?= 5m
KEEP ?=
JSON ?=
HTML ?=
ROUNDS ?=
VPP_SOURCE ?=

.DEFAULT_GOAL := build
.PHONY: help deps build test interop demo bench bench-peers results profile fuzz lint requirements clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install Debian packages and the Go toolchain; nothing to do costs a fraction of a second
	@scripts/deps

build: deps ## build bin/sallyport
	$(GO) build -trimpath -o bin/sallyport ./cmd/sallyport

test: build ## lint and run every test, the lab ones included
	@scripts/test

interop: build ## every case against strongSwan, libreswan, openiked and the Linux kernel, as a table; make test has those of each kind
	@scripts/interop

demo: build ## two gateways, a tunnel, ping and iperf3, and what was on the wire; KEEP=1 leaves it up
	@bin/sallyport lab demo $(if $(KEEP),--keep)

bench: build ## cycles per packet beside the floor; JSON=FILE also writes the rows there
	@bin/sallyport lab bench $(if $(JSON),--json $(JSON))
	@$(GO) build -trimpath -tags softnic -o bin/sallyport-softnic ./cmd/sallyport # what is shipped has no software NIC
	@bin/sallyport-softnic lab bench --table inline $(if $(JSON),--json $(JSON) --append)

bench-peers: build ## this gateway beside strongSwan, DPDK's ipsec-secgw and VPP, in turns, as one table; JSON=FILE, HTML=FILE, ROUNDS=N, VPP_SOURCE=FOLDER
	@scripts/secgw >/dev/null || echo "bench-peers: ipsec-secgw cannot be built here: its rows are without it"
	@[ -z "$(VPP_SOURCE)" ] || VPP_SOURCE="$(VPP_SOURCE)" scripts/vpp >/dev/null
	@bin/sallyport lab peers $(if $(JSON),--json $(JSON)) $(if $(HTML),--html $(HTML)) $(if $(ROUNDS),--rounds $(ROUNDS))

results: build ## what a gateway can do by frame size and by number of tunnels, with changes under load, into perf/results: an hour of a machine that does nothing else; scripts/results says how to make it shorter
	@scripts/results

profile: build ## cycles per packet by stage of the fast path, counted by a build of its own; JSON=FILE also writes the rows there
	@$(GO) build -trimpath -tags profile -o bin/sallyport-profile ./cmd/sallyport # what is shipped counts none
	@bin/sallyport-profile lab bench --table profile $(if $(JSON),--json $(JSON))

fuzz: build ## every Go fuzz target and the C fuzzers, FUZZTIME each (default 5m)
	@scripts/fuzz $(FUZZTIME)

lint: deps ## gofmt, go vet, staticcheck; C with -Wall -Wextra -Werror and clang-tidy
	@scripts/lint

requirements: deps ## list requirement rows with and without a test that proves them
	@$(GO) run ./internal/tools/requirements

clean: ## remove what was built; downloads in the cache folder stay
	rm -rf bin
