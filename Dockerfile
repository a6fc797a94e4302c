# PostgreSQL with prometheus_embed, its text model and runtime:
#   docker build --build-arg PG_MAJOR=17 -t prometheus-embed .
#   docker run --rm -e POSTGRES_PASSWORD=secret -p 5432:5432 prometheus-embed
# The first stage makes the Debian packages, the second installs them into the image of PostgreSQL as it comes.

ARG PG_MAJOR=17
ARG RUST_VERSION=1.95.0
# Others of the same make, where these two cannot be fetched.
ARG RUST_IMAGE=rust:${RUST_VERSION}-slim-bookworm
ARG POSTGRES_IMAGE=postgres:${PG_MAJOR}-bookworm

FROM ${RUST_IMAGE} AS rust

FROM ${POSTGRES_IMAGE} AS packages
ARG PG_MAJOR
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
WORKDIR /src
# What the set-up looks at, before the rest: a change of the sources does not compile the tools again.
COPY Makefile Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY scripts scripts
COPY tests/requirements.txt tests/requirements.txt
COPY tools tools
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make dpkg-dev \
    && scripts/setup.sh \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make package

FROM ${POSTGRES_IMAGE}
ARG PG_MAJOR
COPY --from=packages /src/build/packages /tmp/packages
# Libraries that the packages need come by apt, the packages themselves without network.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libstdc++6 libgcc-s1 \
    && dpkg -i "/tmp/packages/postgresql-${PG_MAJOR}-prometheus-embed_"*.deb /tmp/packages/prometheus-embed-*.deb \
    && rm -rf /tmp/packages /var/lib/apt/lists/*
COPY packaging/docker-create-extension.sql /docker-entrypoint-initdb.d/prometheus_embed.sql
