# The cluster in a container: balancer (and with it the workers), the worker
# alone, verify and loadtest. Builds with BuildKit and with the classic builder.
#
#   docker build -t cluster .
#   docker run --rm -p 127.0.0.1:3100:3100 --read-only --tmpfs /tmp --stop-timeout 40 cluster --workers 4
#
# The base images can come from a mirror, whose prefix ends with a slash:
#   docker build --build-arg MIRROR=mirror.example/library/ -t cluster .
ARG MIRROR=

# What changes seldom: the manifests, and programs with nothing in them.
FROM ${MIRROR}rust:1.95-bookworm AS manifests
WORKDIR /build
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name build.rs ! -path '*/src/lib.rs' ! -path '*/src/main.rs' -delete \
    && find . -path ./shared/libz-ng-sys -prune -o -name lib.rs -exec sh -c ': > "$1"' _ {} \; \
    && find . -name main.rs -exec sh -c 'echo "fn main() {}" > "$1"' _ {} \;

FROM ${MIRROR}rust:1.95-bookworm AS build
WORKDIR /build
# All dependencies go into a layer that later builds find in the cache, as long as
# the manifests stay the same.
COPY --from=manifests /build .
RUN cargo build --release --locked --bins
COPY . .
# Files keep their times when they are copied, and would seem older than what was
# built from the empty ones.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
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
# Asks the cluster itself, whatever COMMAND its workers run.
HEALTHCHECK --interval=5s --timeout=4s --start-period=15s --retries=3 CMD ["balancer", "healthcheck"]
ENTRYPOINT ["balancer"]
