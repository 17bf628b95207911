# docker build -t mailroster .
# The image holds what a dynamically linked binary needs and nothing else: no shell, no package manager.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin mailroster

# libc, CA certificates, time zones and the user nonroot (65532). The build above is on the same Debian.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /source/target/release/mailroster /usr/local/bin/mailroster
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/mailroster"]
CMD ["operator"]
