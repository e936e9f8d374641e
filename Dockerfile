# The cluster in a container: balancer (and with it the workers), the worker
# alone, verify and loadtest. Builds with BuildKit and with the classic builder.
#
#   docker build -t cluster .
#   docker run --rm -p 127.0.0.1:3100:3100 --read-only --tmpfs /tmp --stop-timeout 40 cluster --workers 4
#
# The base images can come from a mirror, whose prefix ends with a slash:
#   docker build --build-arg MIRROR=mirror.example/library/ -t cluster .
ARG MIRROR=

FROM ${MIRROR}rust:1.95-bookworm AS build
WORKDIR /build

# What changes seldom first: with manifests and empty programs, all
# dependencies are built into a layer that later builds find in the cache.
COPY Cargo.toml Cargo.lock ./
COPY compat compat
COPY balancer/Cargo.toml balancer/
COPY worker/Cargo.toml worker/
COPY shared/Cargo.toml shared/
COPY verify/Cargo.toml verify/
COPY loadtest/Cargo.toml loadtest/
RUN for crate in balancer worker shared verify loadtest; do \
        mkdir -p $crate/src && : > $crate/src/lib.rs && echo 'fn main() {}' > $crate/src/main.rs; \
    done \
    && rm shared/src/main.rs \
    && cargo build --release --locked --bins

COPY balancer balancer
COPY worker worker
COPY shared shared
COPY verify verify
COPY loadtest loadtest
# Files keep their times when they are copied, and would seem older than what
# was built from the empty ones.
RUN find balancer worker shared verify loadtest -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bins \
    && mkdir /programs \
    && cp target/release/balancer target/release/worker target/release/verify target/release/loadtest /programs/

FROM ${MIRROR}debian:bookworm-slim

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cluster" \
      org.opencontainers.image.description="N workers on one machine behind one balancer" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# For Redis with TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /programs/ /usr/local/bin/

# Numbers, so that an orchestrator can see that it is not root.
USER 10001:10001
# An .env file can be mounted here.
WORKDIR /srv
# Loopback of a container is no use to anybody outside.
ENV HOST=0.0.0.0
EXPOSE 3100
# Nothing is written but to TMPDIR, and to CLUSTER_STATE_DIR when it is set.
HEALTHCHECK --interval=5s --timeout=4s --start-period=15s --retries=3 CMD ["balancer", "healthcheck"]
ENTRYPOINT ["balancer"]
