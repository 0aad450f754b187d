# The image of every program: `bastion` and its shared libraries on an empty base, without a shell or a package manager. It
# runs as user 65532 and writes only to mounted volumes.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) -t bastion .
#   buildah bud …   works in the same way
#
# RUST_IMAGE needs Rust, gcc, make, cmake and Debian's ca-certificates.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG BASE_IMAGE=scratch

# The console's page.
FROM ${NODE_IMAGE} AS page
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci
COPY web ./
RUN npm run build

FROM ${RUST_IMAGE} AS build
WORKDIR /src
ENV CARGO_INCREMENTAL=0
# cargo-auditable records the crates in the binary. Scanners (trivy, grype, osv-scanner) and the SBOM generator syft read
# that list; the image has no package database.
ARG CARGO_AUDITABLE_VERSION=0.7.0
RUN cargo install --locked --version ${CARGO_AUDITABLE_VERSION} --root /opt/tools cargo-auditable
ENV PATH=/opt/tools/bin:$PATH
# Builds the dependencies with empty programs, in a layer that changes only with them.
COPY Cargo.toml Cargo.lock build.rs ./
COPY e2e/Cargo.toml e2e/
COPY e2e/model/Cargo.toml e2e/model/
COPY third_party third_party
RUN mkdir -p src/bin e2e/src && touch src/lib.rs e2e/src/lib.rs e2e/model/main.rs \
 && echo 'fn main() {}' | tee src/main.rs >src/bin/kubectl-bastion.rs \
 && cargo auditable build --release --locked -p bastion-operator --bins
COPY src src
COPY migrations migrations
COPY --from=page /web/dist web/dist
COPY hack/image-root hack/image-root
# Cargo compares modification times, and the copied files may be older than the empty ones.
RUN find src -name '*.rs' -exec touch {} + \
 && cargo auditable build --release --locked -p bastion-operator --bin bastion \
 && hack/image-root target/release/bastion /root-of-image

FROM ${BASE_IMAGE}
COPY --from=build /root-of-image /
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/bastion-operator/bastion-operator
LABEL org.opencontainers.image.title="bastion-operator" \
      org.opencontainers.image.description="An SSH bastion for Kubernetes whose list of online sessions is always true" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Bastion Operator" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/blob/main/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# 2222: SSH. 8080: metrics and probes.
EXPOSE 2222 8080
USER 65532:65532
ENTRYPOINT ["/usr/bin/bastion"]
