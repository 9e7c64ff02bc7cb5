SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

# buf stays out of the module graph; only generate and check-generate need it.
BUF := go run github.com/bufbuild/buf/cmd/buf@v1.66.0
# How long make fuzz spends on each fuzz test, and make sim on how many cases.
FUZZTIME ?= 10m
SIMCHECKS ?= 2000
SEEDS ?= 5000
# How many calls make soak makes over each of HTTP and NATS.
SOAKCALLS ?= 500
# Seeds of make demo, and when its two years end (empty: now).
SEED ?= 1
END ?=

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build bin/dossier
	CGO_ENABLED=0 go build -trimpath -o bin/dossier ./cmd/dossier

.PHONY: test
test: ## Run all tests (minutes)
	go test -timeout 30m ./...

.PHONY: test-short
test-short: ## Run the quick tests (under a minute)
	go test -short ./...

.PHONY: race
race: ## Run the quick tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -timeout 30m -race -short ./...

.PHONY: lint
lint: check-generate ## Check formatting, vet, staticcheck, modules, fixes, generated code
	@unformatted=$$(gofmt -l .); if [[ -n "$$unformatted" ]]; then echo "gofmt wants changes in:" $$unformatted >&2; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff
	go fix -diff ./...

.PHONY: generate
generate: ## Write generated code and documents anew
	cd proto && $(BUF) lint
	cd proto && $(BUF) generate
	go test ./cmd/dossier -run '^TestEventsDocument$$' -rewrite

.PHONY: check-generate
check-generate: ## Check that the generated code is that of its sources
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	(cd proto && $(BUF) lint && $(BUF) generate -o "$$fresh"); \
	(cd "$$fresh" && find . -name '*.go' | sort) > "$$fresh/names"; \
	(cd proto && find . -name '*.go' | sort) | diff - "$$fresh/names" \
		|| { echo "proto/ has other generated files than its sources make; run make generate" >&2; exit 1; }; \
	while read -r name; do diff -q "proto/$$name" "$$fresh/$$name" \
		|| { echo "generated code is stale; run make generate" >&2; exit 1; }; done < "$$fresh/names"

.PHONY: demo
demo: ## Serve with a small made-up shop loading in
	go run ./cmd/dossier demo --seed $(SEED)$(if $(END), --end $(END))

.PHONY: serve
serve: ## Serve from ./dossier-data
	go run ./cmd/dossier serve

.PHONY: sim
sim: ## Run the property tests and simulations with many more seeds
	@for pkg in $$(go list -f '{{$$p := .ImportPath}}{{range .TestImports}}{{if eq . "pgregory.net/rapid"}}{{$$p}}{{"\n"}}{{end}}{{end}}{{range .XTestImports}}{{if eq . "pgregory.net/rapid"}}{{$$p}}{{"\n"}}{{end}}{{end}}' ./... | sort -u); do \
		go test -count=1 -timeout 0 "$$pkg" -rapid.checks=$(SIMCHECKS); done
	go test -count=1 -timeout 0 ./cmd/dossier -run '^(TestSimulation|TestIdentity|TestRouting)$$' -sim.new -sim.seeds=$(SEEDS)

.PHONY: soak
soak: ## Send several times what fits over HTTP and NATS, fill a small disk (needs root), look for duplicates among 10,000
	go test -count=1 -timeout 0 -v ./cmd/dossier -run '^(TestOverload|TestNearlyFullDisk|TestFullLogDisk|TestSuspectsOfRegister)$$' -overload.calls=$(SOAKCALLS) -register.whole

.PHONY: fuzz
fuzz: ## Fuzz every decoder for FUZZTIME each
	@for pkg in $$(go list ./...); do \
		for name in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$pkg"; done; done

.PHONY: bench
bench: ## Run every benchmark once
	go test -run '^$$' -bench . -benchtime 1x ./...

.PHONY: figures
figures: ## Measure what docs/PERFORMANCE.md quotes
	@go version; echo "commit $$(git rev-parse --short HEAD)"; nproc
	go test -run '^$$' -bench . -benchtime 5s -timeout 0 ./cmd/dossier ./events/... ./query
	go test -run '^$$' -bench '^Benchmark(MergeOf|JoinSingletons)' -benchtime 1x -timeout 0 ./cmd/dossier -figures.events=1000000 -figures.identifiers=10000
	CGO_ENABLED=0 go build -trimpath -o bin/dossier ./cmd/dossier
	env -u DOSSIER_SERVER bin/dossier bench --events 200000 --lang en

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
	go clean -testcache
