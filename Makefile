# The front door: `make` lists the targets. CI runs the same ones.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60

TAILRACE := .build/release/tailrace
VENV := .venv
REQUIREMENTS := $(wildcard Tests/*/requirements.txt)
SWIFT_SOURCES := Sources Tests Package.swift
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help setup computations libraries python tools image-tools image image-test build install demo ride test unit integration deploy plots pages lint format bench bench-scaling bench-kafka bench-latency bench-recovery costs soak fuzz simulate report docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: libraries python tools ## Install missing system libraries, and Python packages for the integration tests

# Checks for the libraries themselves, not for Debian's packages: they may come from elsewhere.
libraries:
	@command -v swift > /dev/null || { echo "no swift on the PATH: https://www.swift.org/install"; exit 1; }
	@missing=(); \
	command -v pkg-config > /dev/null || missing+=(pkg-config); \
	pkg-config --exists rdkafka 2> /dev/null || missing+=(librdkafka-dev); \
	pkg-config --exists libzstd 2> /dev/null || missing+=(libzstd-dev); \
	$(call install,$${missing[@]})

python:
	@missing=(); \
	python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3 python3-venv); \
	$(call install,$${missing[@]})
	@if ! cat $(REQUIREMENTS) | cmp -s - $(VENV)/installed.txt || ! $(VENV)/bin/python -c ''; then \
	  echo "installing the packages of $(REQUIREMENTS) in $(VENV)"; \
	  python3 -m venv --clear $(VENV); \
	  $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS)); \
	  cat $(REQUIREMENTS) > $(VENV)/installed.txt; \
	fi

# Programs that the tests of metrics, rules, costs and pages run, besides Python packages.
tools:
	@missing=(); \
	{ command -v promtool && command -v prometheus; } > /dev/null || missing+=(prometheus); \
	command -v openssl > /dev/null || missing+=(openssl); \
	command -v valgrind > /dev/null || missing+=(valgrind); \
	command -v objcopy > /dev/null || missing+=(binutils); \
	[ -n "$${CHROMIUM:-}" ] || command -v chromium > /dev/null || missing+=(chromium); \
	$(call install,$${missing[@]})

# Programs that build and run the image; not part of `setup`.
image-tools:
	@missing=(); \
	for tool in buildah podman runc debootstrap openssl; do \
	  command -v $$tool > /dev/null || missing+=($$tool); \
	done; \
	command -v ip > /dev/null || missing+=(iproute2); \
	$(call install,$${missing[@]})

# Installs the named Debian packages; does nothing without a name.
define install
set -- $(1); \
if [ $$# != 0 ]; then \
  echo "installing $$*"; \
  command -v apt-get > /dev/null || { echo "no apt-get on this system: install them by hand"; exit 1; }; \
  $(SUDO) apt-get update -q; \
  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$$@"; \
fi
endef

build: libraries ## Build the program: .build/release/tailrace
	swift build -c release --product tailrace

# Where to install; DESTDIR is prepended, for packages.
PREFIX ?= /usr/local
INSTALLED := $(DESTDIR)$(PREFIX)

install: build ## Install the program, its man pages and its shell completions: PREFIX=/usr/local
	swift package plugin generate-manual --multi-page
	install -D -m 755 $(TAILRACE) "$(INSTALLED)/bin/tailrace"
	install -d "$(INSTALLED)/share/man/man1"
	find .build/plugins/GenerateManual -name 'tailrace*.1' \
	  -exec install -m 644 -t "$(INSTALLED)/share/man/man1" {} +
	set -- bash bash-completion/completions/tailrace zsh zsh/site-functions/_tailrace \
	  fish fish/vendor_completions.d/tailrace.fish; \
	while [ $$# != 0 ]; do \
	  install -d "$(INSTALLED)/share/$${2%/*}"; \
	  $(TAILRACE) --generate-completion-script $$1 > "$(INSTALLED)/share/$$2"; \
	  chmod 644 "$(INSTALLED)/share/$$2"; \
	  shift 2; \
	done

demo: build ## Run a broker, traffic and a worker in one process; ARGS=--keep serves the console afterwards
	$(TAILRACE) demo $(ARGS)

ride: build python ## Run an order through five instrumented services, and show its story; ARGS=--once ends then
	TAILRACE=$(TAILRACE) PYTHONPATH=Tests/Integration $(VENV)/bin/python -B -m ride $(ARGS)

# Two builds: the unit tests use a debug build, for its checks of arithmetic, memory access and assertions; the
# integration tests use the optimised program, as released.
#
# What only computes runs beside what mostly waits for brokers, at the lowest priority, so that it delays nothing.
test: setup lint unit build ## Everything that CI runs, with a short run of the fuzzers
	@echo "beside the following: $(MAKE) computations, in .build/computations.log"; \
	setsid nice -n 19 $(MAKE) computations > .build/computations.log 2>&1 & beside=$$!; \
	trap 'kill -- -$$beside 2> /dev/null || true' EXIT; \
	$(MAKE) integration deploy plots pages; \
	trap - EXIT; \
	passed=true; wait $$beside || passed=false; \
	cat .build/computations.log; $$passed

# Tests whose outcome does not depend on time.
computations: costs simulate
	$(MAKE) fuzz FUZZ_SECONDS=10

# Tests that wait for a broker or a process would starve among hundreds of others on two cores: they run one by one.
WAITING := KafkaTests|CommandTests
unit: libraries ## Test the modules
	@$(call swift_test,--skip '$(WAITING)')
	@$(call swift_test,--skip-build --no-parallel --filter '$(WAITING)')

# Repeats the failures at the end: they are hard to find among thousands of lines.
define swift_test
mkdir -p .build; echo "swift test $(1)"; \
swift test $(1) 2>&1 | tee .build/unit.log || { echo; echo "What failed:"; grep '✘' .build/unit.log; exit 1; }
endef

integration: build python tools ## Test the program with a real broker, a real collector and real SDKs
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B -m pytest Tests/Integration -n 2 --dist loadfile

deploy: build python tools ## Test the manifests, the Dockerfile and the scripts of Deploy/
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B -m pytest Tests/Deploy

plots: build python ## Test the script that draws what `report` and `bench-scaling` write
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B -m pytest Tests/Plots

pages: python tools ## Test the console's pages in Chromium
	$(VENV)/bin/python -B -m pytest Tests/Pages

# The image's name.
IMAGE ?= tailrace:0.1.0

image: image-tools ## Build the image without a daemon; base images that can't be pulled get stand-ins
	Deploy/image/build.sh $(IMAGE)

image-test: image python ## Run the image as the manifests do: probes, a changed ConfigMap, a crash, SIGTERM
	IMAGE=$(IMAGE) $(VENV)/bin/python -B -m pytest -s Tests/Deploy/image.py

lint: ## Check the format of all Swift sources
	swift format lint --strict --recursive --parallel $(SWIFT_SOURCES)

format: ## Format all Swift sources
	swift format --in-place --recursive --parallel $(SWIFT_SOURCES)

bench: build ## Measure spans per second and memory, in process
	$(TAILRACE) bench

bench-scaling: build python ## Measure a span's cost as the work grows: a table, and a plot in .build
	$(TAILRACE) bench-scaling --csv .build/bench-scaling.csv $(ARGUMENTS)
	$(call plot,bench-scaling)

# Draws figures in .build.
plot = $(VENV)/bin/python -B Tests/Plots/plot.py .build/$(1).csv .build/$(1).svg

bench-kafka: build python ## Compare a worker with a consumer that does nothing, on a real broker
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B Tests/Integration/bench_kafka.py $(ARGUMENTS)

bench-latency: build python ## Measure latency from an error span's producer to a read_committed reader
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B Tests/Integration/bench_latency.py $(ARGUMENTS)

bench-recovery: build python ## Measure how long ten minutes of verdicts take to read back
	TAILRACE=$(TAILRACE) $(VENV)/bin/python -B Tests/Integration/bench_recovery.py $(ARGUMENTS)

costs: build python tools ## Compare instructions and allocations per span with the recorded ones; COSTS=write records new ones
	TAILRACE=$(TAILRACE) COSTS=$(COSTS) $(VENV)/bin/python -B -m pytest Tests/Costs

# How long the soak test takes.
MINUTES ?= 10

soak: build python ## Run workers under load on a broker that comes and goes: MINUTES=10
	TAILRACE=$(TAILRACE) SOAK_MINUTES=$(MINUTES) $(VENV)/bin/python -B -m pytest -s Tests/Integration/soak.py

fuzz: libraries ## Fuzz every decoder and the sampler: FUZZ_SECONDS=60 for each
	Tests/Fuzz/run.sh $(FUZZ_SECONDS)

# The first seed, and how many. For a new one: make simulate SEED=$$RANDOM
SEED ?= 1
SEEDS ?= 1000

simulate: build ## Simulate workers on a virtual Kafka with faults: SEEDS=1000 from SEED=1 on
	$(TAILRACE) simulate --seed $(SEED) --seeds $(SEEDS)

report: build python ## Simulate a day of the adaptive baseline: figures, and a plot in .build
	$(TAILRACE) report --output .build/baseline-day.csv
	$(call plot,baseline-day)

# In a folder of its own, since the package has one more dependency for it.
docs: libraries ## Build the pages of the libraries OTLP and Sampling in .build/docs; a warning is an error
	TAILRACE_DOCS=1 swift package --scratch-path .build/docs generate-documentation \
	  --target OTLP --target Sampling --warnings-as-errors

clean: ## Remove everything built and installed here
	rm -rf .build $(VENV)
