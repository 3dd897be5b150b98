# Longwire in a container: compiled code, four production dependencies and Node. Debian's slim image and not Alpine, because
# the figures in docs/ were measured on glibc, and musl's allocator behaves differently under hundreds of thousands of
# small allocations.
#
#   docker build -t longwire .
#   docker run --rm -p 3000:3000 --ulimit nofile=1048576:1048576 longwire

ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY config config
COPY src src
COPY workers workers
RUN npm run build

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# valibot names the TypeScript compiler as an optional peer: 30 MB that nothing here runs.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
# tini is process 1: it passes signals on to the primary and reaps whatever is left when a worker is killed. Being in the
# image it is there under `docker run`, compose and Kubernetes alike.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/src/broker/longwire.lua src/broker/longwire.lua
COPY --from=build /app/src/broker/presence.lua src/broker/presence.lua
COPY package.json LICENSE ./
COPY deploy/healthcheck.mjs deploy/healthcheck.mjs
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["node", "deploy/healthcheck.mjs"]
ENTRYPOINT ["tini", "--", "node", "dist/src/main.js"]
