# make check is what a change must pass; make release-linux builds what is shipped.
GO ?= go

.PHONY: check test cover lint e2e e2e-systemd build release-linux cross fuzz deps

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test -race ./...

test:
	$(GO) test ./...

# Coverage of every package by every test, and of the executables that tests start.
COVER ?= cover
cover:
	@rm -rf $(COVER) && mkdir -p $(COVER)/unit $(COVER)/children
	GOCOVERDIR=$(CURDIR)/$(COVER)/children $(GO) test -cover -coverpkg=./... ./... -args -test.gocoverdir=$(CURDIR)/$(COVER)/unit
	$(GO) tool covdata textfmt -i=$(COVER)/unit,$(COVER)/children -o $(COVER)/profile.txt
	@$(GO) tool cover -func=$(COVER)/profile.txt | tail -1

# golangci-lint is not in go.mod: go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@latest
lint:
	golangci-lint run ./...

# The real executable, as its users run it.
e2e:
	$(GO) test -tags e2e ./e2e ./mcp

# The same under a systemd of its own, in namespaces; takes root, and skips where that cannot be.
e2e-systemd:
	$(GO) test -tags 'e2e systemd' -run 'UnderSystemd|FailuresForReal' -v ./e2e

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o claudemesh .

# Debian's packages for the libsodium build.
deps:
	apt-get install -y --no-install-recommends gcc libc6-dev pkg-config libsodium-dev

release-linux:
	CGO_ENABLED=1 $(GO) build -trimpath -tags libsodium,netgo,osusergo -ldflags '-s -w -linkmode external -extldflags "-static"' -o dist/claudemesh-linux .

cross:
	for os in linux darwin windows; do for arch in amd64 arm64; do \
		echo "$$os/$$arch"; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -o /dev/null . || exit 1; done; done

# Each fuzz target for a moment: FUZZTIME=10s make fuzz
FUZZTIME ?= 10s
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; done; done
