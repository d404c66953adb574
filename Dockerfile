# The service in a container: built in one stage, run in another without compiler, shell history or root.
#
#   docker build -t rollcall .
#   docker run --rm -p 127.0.0.1:8080:8080 -e ROLLCALL__HTTP__LISTEN=0.0.0.0:8080 -e ROLLCALL__AUTH__MODE=open rollcall
#
# docker-compose.yml has the production shape, with Postgres and Mosquitto.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# The dependencies alone first, with empty sources in place of ours: this layer is built again only when a manifest or
# the lockfile changes, not at every change of a source file.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY simulator/Cargo.toml simulator/
COPY bench/Cargo.toml bench/
RUN mkdir -p src simulator/src bench/src \
 && touch src/lib.rs simulator/src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs bench/src/main.rs > simulator/src/main.rs \
 && cargo build --release --locked -p rollcall -p simulator --bins

# `touch`: copied files keep their old times, and cargo would take the empty sources above for newer.
COPY src src
COPY simulator/src simulator/src
COPY web web
COPY migrations migrations
COPY config config
RUN find src simulator/src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p rollcall -p simulator --bins

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Rollcall" \
      org.opencontainers.image.description="Real-time vehicle fleet monitor" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# ca-certificates: to check the database's certificate. The user's number is fixed, for volume owners.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /var/lib/rollcall rollcall \
 && install -d -o rollcall -g rollcall -m 0750 /var/lib/rollcall

COPY --from=build /build/target/release/rollcall /build/target/release/simulator /usr/local/bin/
COPY config/production.toml /etc/rollcall/production.toml
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/rollcall/

# Relative paths in the settings (the SQLite file, the spool) end up in the volume.
WORKDIR /var/lib/rollcall
VOLUME /var/lib/rollcall
USER rollcall
EXPOSE 8080 1883

# `rollcall healthcheck` asks GET /healthz of this container; no curl is needed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["rollcall", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rollcall"]
CMD ["serve"]
