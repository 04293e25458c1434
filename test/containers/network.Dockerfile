# Started beside another container, in its network: to drop packets there.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends iptables && rm -rf /var/lib/apt/lists/*
ENTRYPOINT ["iptables", "--wait"]
