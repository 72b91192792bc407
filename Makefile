# Postrider. `make help` lists what there is to make; everything it needs is built from pinned Go modules.

IMG ?= ghcr.io/postrider/postrider:dev
SINK_IMG ?= ghcr.io/postrider/sink:dev
CLUSTER ?= local
FUZZTIME ?= 1m
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0
export KUBEBUILDER_ASSETS := $(CURDIR)/bin/kube

GOBUILD := hack/gobuild.sh
TOOLS := $(GOBUILD) hack/tools bin/tools
LINTER := golangci-lint=sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

##@ See it work

.PHONY: try
try: bin/postrider ## A relay without a cluster and without root: accepts, signs, delivers, defers, bounces
	go run ./hack/try

.PHONY: demo
demo: ## The whole system on a real cluster (CLUSTER=current IMG= SINK_IMG=: the current kube context)
	@CLUSTER=$(CLUSTER) IMG=$(IMG) SINK_IMG=$(SINK_IMG) hack/demo/run.sh

##@ Build

.PHONY: build
build: bin/manager bin/relay bin/postrider ## bin/manager, bin/relay and bin/postrider, static

.PHONY: bin/manager bin/relay bin/postrider
bin/manager bin/relay bin/postrider: bin/%:
	@hack/step.sh "building $@" go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/$*

.PHONY: image
image: bin/manager bin/relay ## bin/image.tar, the container image, without a container engine
	@hack/step.sh "packing $(IMG)" go run ./hack/image -name $(IMG) -out bin/image.tar -user 65532:65532 \
		bin/manager bin/relay /etc/ssl/certs/ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt

.PHONY: sink-image
sink-image: ## bin/sink.tar, the image of the mail exchanger that a demonstration delivers to
	@go build -trimpath -o bin/sink ./hack/sink
	@hack/step.sh "packing $(SINK_IMG)" go run ./hack/image -name $(SINK_IMG) -out bin/sink.tar -user 65532:65532 bin/sink

.PHONY: generate
generate: ## Deep copies, CRDs, the API reference, the chart's copies and the OLM bundle
	@$(TOOLS) controller-gen=sigs.k8s.io/controller-tools/cmd/controller-gen
	@hack/kube/build.sh kubectl
	@hack/step.sh "generating" hack/generate.sh

##@ Pack

.PHONY: build-installer
build-installer: ## dist/install.yaml: definitions, namespace, rights and the operator, for IMG
	@hack/kube/build.sh kubectl
	@mkdir -p dist
	@bin/kube/kubectl kustomize config/default | sed 's#ghcr.io/postrider/postrider:dev#$(IMG)#g' >dist/install.yaml
	@echo 'dist/install.yaml installs $(IMG)'

.PHONY: release
release: helm ## dist/: plugin archives, installer, chart, bundle, krew manifest, checksums (VERSION=v1.2.3 IMG=NAME@sha256:…)
	@hack/kube/build.sh kubectl
	@VERSION=$(VERSION) IMG=$(IMG) hack/release.sh

##@ Test

.PHONY: test
test: gotestsum helm kube-test ## Every test that needs no root: unit, engine over real sockets, crash clones, envtest
	@bin/tools/gotestsum --format pkgname-and-test-fails --hide-summary skipped -- -timeout 20m $(TESTFLAGS) ./...

# What e2e runs: a scenario of each kind. The others take their time: the same with more interference, or longer.
SCENARIOS := TestDeliver TestOpenRelay TestOutage TestPolicyInForce TestServiceAccountTokens TestTenants TestSIGKILL \
	TestQuickStart TestReadme TestSamplesTwice TestPlugin TestScaleDownUnderFire TestWithoutOperator TestWithoutAPIServer \
	TestDeleteHandoff TestOperatorUpgrade TestNodeLoss TestDiskFull

.PHONY: e2e e2e-full
e2e: e2e-cluster $(if $(RUN),,interop) ## Scenarios on a real node with real peers; needs root (RUN="TestOutage TestDeliver": only those)
	@test/e2e/run.sh $(or $(RUN),$(SCENARIOS))
e2e-full: e2e-cluster interop ## All scenarios, those too that take long
	@test/e2e/run.sh

.PHONY: e2e-cluster
e2e-cluster: cluster-up image bin/postrider gotestsum
	@hack/packages.sh peers
	@hack/step.sh "loading $(IMG)" bin/cluster load bin/image.tar

.PHONY: interop
interop: bin/postrider gotestsum ## Scenarios with Debian's mail servers, clients and filters; needs root (RUN=TestDovecot: only that)
	@hack/packages.sh interop
	@test/interop/run.sh $(if $(RUN),-test.run='$(RUN)')

.PHONY: bench
bench: ## Every figure, beside Postfix; writes bin/bench.json (BENCH=backlog: only that; BASELINE=FILE: and an older relay)
	go run ./hack/bench

.PHONY: bench-operator
bench-operator: bin/manager kube-test ## The operator with 1,000 MailRelays and 10,000 SendingDomains; writes bin/bench-operator.json (RELAYS=50 DOMAINS=500: fewer)
	go run ./hack/bench-operator

.PHONY: crash
crash: ## Proof of durability: crash clones, SIGKILLs, failing disks, a trace of every sync, flipped bits
	@hack/packages.sh crash
	go test -count=1 -timeout 30m -v -run 'FlippedBits|FailingDisk|Gone|Salvage' ./relay/spool -flips=200
	go test -count=1 -timeout 30m -v ./test/crash -clones=1000 -kills=500 -strace

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME each
	@hack/fuzz.sh $(FUZZTIME)

##@ Check

.PHONY: lint
lint: ## golangci-lint, with the Kubernetes API conventions for api/
	@$(TOOLS) $(LINTER)
	@hack/step.sh "linting" bin/tools/golangci-lint run ./...

.PHONY: verify
verify: ## Generated files, module files, formatting and imports are as they should be
	@hack/verify.sh

.PHONY: vulncheck
vulncheck: ## Known vulnerabilities that our code reaches; needs the Internet
	@$(TOOLS) govulncheck=golang.org/x/vuln/cmd/govulncheck
	@bin/tools/govulncheck ./...

##@ The throwaway cluster

.PHONY: kube
kube: ## bin/kube: etcd and the Kubernetes programs, built from pinned modules
	@hack/kube/build.sh

.PHONY: cluster-up
cluster-up: packages kube bin/cluster ## Bring up the one-node cluster; needs root
	@bin/cluster up

.PHONY: cluster-down
cluster-down: bin/cluster ## Take it down and leave nothing behind
	@bin/cluster down

.PHONY: bin/cluster
bin/cluster:
	@go build -trimpath -o $@ ./hack/cluster

##@ Else

.PHONY: clean
clean: ## Remove bin/
	rm -rf bin

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

# What the tests and the cluster themselves run.
.PHONY: packages gotestsum helm kube-test
packages:
	@hack/packages.sh cluster
gotestsum:
	@$(TOOLS) gotestsum=gotest.tools/gotestsum
helm:
	@$(GOBUILD) hack/packaging bin/tools helm=helm.sh/helm/v4/cmd/helm
kube-test:
	@hack/kube/build.sh etcd kubectl kube-apiserver kube-controller-manager
