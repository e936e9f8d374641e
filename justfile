# Everyday commands. `just` lists them.

[private]
default:
    @just --list

# A cluster of four workers on http://127.0.0.1:3100
run *ARGS:
    cargo run -p balancer -- --workers 4 {{ARGS}}

# Judges the cluster that runs
verify *ARGS:
    cargo run -p verify -- {{ARGS}}

# Measures the cluster that runs
loadtest *ARGS:
    cargo run -p loadtest -- {{ARGS}}

# Tests that need nothing but Rust and a C compiler
test *ARGS:
    cargo test --workspace {{ARGS}}

# All tests; installs what they need
test-all:
    bash .ci/setup
    cargo test --workspace -- --include-ignored

# All examples through start, reload, kill and stop, as a table; installs what they need
frameworks:
    .ci/frameworks
    rm -rf target/frameworks/rows
    cargo test -p balancer --features frameworks --test frameworks -- --include-ignored --test-threads 1
    @echo '| example | first answer, s | lost in reload | lost in kill -9 | stop with a request in hand, s | exit code | exits of old workers | warnings |'
    @echo '|---|---|---|---|---|---|---|---|'
    @cat target/frameworks/rows/*

# Format and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features balancer/frameworks --locked -- -D warnings

# The Debian package, below target/debian
deb:
    deploy/debian/build

# What a change must pass
ci:
    bash .ci/run

# This balancer, nginx and HAProxy in turns
bench *ARGS:
    cargo build --release
    bench/compare {{ARGS}}

# Links of the documents, and their blocks that are marked to be run
docs *ARGS:
    cargo build -p balancer -p verify -p loadtest
    .ci/docs {{ARGS}}

# Pictures of the documents, anew
pictures *ARGS:
    cargo build -p balancer -p loadtest
    docs/pictures/make {{ARGS}}

# Damaged messages against a second parser, for so many seconds
fuzz SECONDS="600":
    FUZZ_SECONDS={{SECONDS}} cargo test -p balancer-proxy --test properties
