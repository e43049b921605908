# Everything a developer does. `make` alone lists it.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run test lint test-race test-plain coverage fuzz bench bench-load bench-websocket k6 find-rate soak soak-reload chaos pgo audit clean

export GOFLAGS := -mod=readonly
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
COVERAGE := 90
TESTED_WITH := curl:curl redis-server:redis-server '/usr/lib/postgresql/*/bin/postgres:postgresql'
FUZZTIME ?= 20s
K6 := go.k6.io/k6@v1.8.1
TEST ?= $(if $(RATE),load,smoke)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/gateway and bin/upstream (the demo services)
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...

run: build ## the demo, until Ctrl-C; GATEWAY_PORT, ADMIN_PORT, UPSTREAM_PORT_BASE move its ports, CONFIG (-c FILE …) its files
	@.ci/need curl:curl
	@exec .ci/demo

test: lint test-race test-plain coverage ## what the CI runs: checks, the race pass, the plain pass with its coverage gate

lint: ## gofmt, vet, staticcheck
	@.ci/need gcc:gcc git:git systemd-analyze:systemd
	@unformatted=$$(gofmt -l .); \
	if [[ -n $$unformatted ]]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

# endtoend and chaos run binaries as they are built for users, without the detector: they belong to the other pass.
test-race: bin/tools/consul ## pass 1: behaviour, with the race detector
	@.ci/need $(TESTED_WITH)
	CGO_ENABLED=1 go test -timeout 10m -race $$(go list ./... | grep -v -e '/cmd/gateway/endtoend$$' -e '/bench/chaos$$')

test-plain: bin/tools/consul ## pass 2: allocations and timing too, writes coverage.out
	@.ci/need $(TESTED_WITH)
	go test -timeout 10m -coverpkg=./core/...,./plugins/... -coverprofile=coverage.out ./...

# A registry as Consul's users have it; it is compiled when its versions change, which takes minutes, and kept.
CONSUL := core/testenv/consul
bin/tools/consul: $(CONSUL)/main.go $(CONSUL)/go.mod $(CONSUL)/go.sum
	cd $(CONSUL) && nice go build -trimpath -buildvcs=false -ldflags '-s -w' -o '$(CURDIR)/$@' .

coverage: ## what pass 2 covered, and the packages that need tests most
	@awk -v least=$(COVERAGE) -f .ci/coverage.awk coverage.out

fuzz: ## every fuzz target for FUZZTIME (20s) each
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

# The binary is passed on, so that what is measured is what is built.
bench: build ## CPU per request beside nginx and HAProxy, interleaved; writes bench/RESULTS.md
	@.ci/need nginx:nginx haproxy:haproxy wrk:wrk redis-server:redis-server
	go run ./bench/compare -gateway '$(CURDIR)/bin/gateway'

bench-load: RATE ?= 20000
bench-load: build ## latencies and memory at RATE (20000) requests a second and half of it; writes bench/OPENLOOP.md
	go run ./bench/compare -open-loop $(RATE) -gateway '$(CURDIR)/bin/gateway'

bench-websocket: build ## 9,000 idle WebSockets, and the echo of 64 busy ones beside nginx; writes bench/WEBSOCKET.md
	@.ci/need nginx:nginx
	go run ./bench/compare -websockets 9000 -gateway '$(CURDIR)/bin/gateway'

# Each test has its own defaults; what is set here goes to it by the environment.
k6: build bin/tools/k6 ## k6 TEST (smoke; load with a RATE; ramp spike soak websocket) against the demo: RATE DURATION VUS SCALE; writes bin/k6
	@.ci/need curl:curl
	@mkdir -p bin/k6
	@.ci/with-demo bin/tools/k6 run --quiet --no-usage-report k6/$(TEST).js

bin/tools/k6: # large: minutes at the first time
	GOBIN='$(CURDIR)/bin/tools' nice go install $(K6)

find-rate: build ## the highest rate that the demo's gateway answers cleanly on this machine; DURATION (5s) of each trial
	@.ci/need curl:curl
	go build -o bin/load ./bench/load
	@.ci/with-demo bash -c 'bin/load -url "$$GATEWAY/identity/bytes/128" -find -rate 2000 -duration $(or $(DURATION),5s) >bin/find-rate.json'

pgo: ## refreshes the profile that the gateway is built with, from a benchmark of whole exchanges
	go test -run '^$$' -bench '^BenchmarkExchange$$' -benchtime 10s -cpuprofile cmd/gateway/default.pgo -o /dev/null ./core/gateway/gatewaytest

soak: ## everything at once for DURATION (10m): what the gateway holds when nothing is under way must stay as it is
	SOAK=$(or $(DURATION),10m) go test -count=1 -timeout 60m -v -run '^TestSoak$$' ./core/gateway/gatewaytest

soak-reload: build ## 50 reloads (one of 10,000 routes) and the replacement of a gateway under load and 100 WebSockets: nothing may fail
	go run ./bench/reload -gateway '$(CURDIR)/bin/gateway'

chaos: RATE ?= 5000
chaos: ## services that are killed, hung, slow and broken at RATE (5000) requests a second for DURATION (10s) each: a table, and what must hold
	CHAOS_RATE=$(RATE) CHAOS_FAULT=$(or $(DURATION),10s) go test -count=1 -timeout 60m -v -run '^Test(Chaos|Neighbours)$$' ./bench/chaos

audit: build ## go mod verify, the licences, bin/sbom.json
	@.ci/audit

clean: ## removes what the targets above made
	rm -rf bin coverage.out
