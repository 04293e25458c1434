# A plain machine, as the guide expects one: Node 24, npm and nats-server, an ordinary user, nothing of everycore.
FROM nats:2-alpine AS nats
FROM node:24-bookworm-slim
COPY --from=nats /usr/local/bin/nats-server /usr/local/bin/nats-server
RUN : > /etc/machine-id
USER node
WORKDIR /home/node
CMD ["sleep", "infinity"]
