# everycore/agent: one worker per core of this container, for JavaScript, Python and any program in the image.
# Build your own image from it when tasks need more: FROM everycore/agent, USER root, RUN apt-get install ...
#
#   docker build -f deploy/docker/agent.Dockerfile -t everycore/agent .
#
# The first stage is the same as the coordinator's, so that the second build finds it in the builder's cache. Nothing
# here needs BuildKit.
FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY packages/protocol/package.json packages/protocol/
COPY packages/client/package.json packages/client/
COPY packages/coordinator/package.json packages/coordinator/
COPY packages/node-agent/package.json packages/node-agent/
COPY packages/cli/package.json packages/cli/
COPY packages/cli/bin packages/cli/bin
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.pack.json LICENSE README.md ./
COPY proto proto
COPY python/src python/src
COPY scripts scripts
COPY packages packages
# The published packages among exactly the dependencies of the lockfile; without the Node that npm brought along.
RUN node scripts/pack.ts --folders \
 && npm prune --omit=dev --ignore-scripts \
 && rm -rf node_modules/everycore node_modules/@everycore node_modules/node-linux-* node_modules/.bin node_modules/.package-lock.json \
 && mkdir -p /app/node_modules/@everycore \
 && mv node_modules/* /app/node_modules/ \
 && mv dist/packages/cli /app/node_modules/everycore \
 && mv dist/packages/* /app/node_modules/@everycore/

FROM node:24-bookworm-slim
LABEL org.opencontainers.image.title="everycore agent" \
      org.opencontainers.image.description="runs items, one worker process per core" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# tini reaps what tasks leave behind and passes SIGTERM on, which drains the agent.
# An empty machine-id: each container is a machine of its own, known by its host name, not by its image.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 tini \
 && rm -rf /var/lib/apt/lists/* \
 && : > /etc/machine-id
EXPOSE 7072
COPY --from=build /app /opt/everycore
RUN ln -s /opt/everycore/node_modules/everycore/bin/everycore.js /usr/local/bin/everycore \
 && mkdir -m 0700 /var/lib/everycore /run/everycore \
 && chown 1000:1000 /var/lib/everycore /run/everycore
ENV NODE_ENV=production EVERYCORE_DATA=/var/lib/everycore XDG_CACHE_HOME=/var/lib/everycore/cache
# State is in /var/lib/everycore: mount a volume there, or it ends with the container (an anonymous volume would be left
# behind by each). The secret is mounted in /run/everycore.
# The user is a number, so that an orchestrator sees that it is not root
USER 1000:1000
WORKDIR /var/lib/everycore
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:7072/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["tini", "--", "everycore", "agent"]
