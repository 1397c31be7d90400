# The bridge to linked devices: build from the root with `docker build -f deploy/bridge.Dockerfile .`
FROM node:20-bookworm-slim AS build
WORKDIR /opt/bridge
COPY drivers/wwebjs/bridge/package.json drivers/wwebjs/bridge/package-lock.json ./
RUN PUPPETEER_SKIP_DOWNLOAD=1 npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:20-bookworm-slim
# Debian gives fixes of Chromium under a new version, and takes the old one away.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium-headless-shell fonts-liberation fonts-noto-color-emoji \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home hantar \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/hantar-bridge /run/hantar-bridge
COPY --from=build /opt/bridge /opt/bridge
COPY drivers/wwebjs/bridge /opt/bridge
ENV NODE_ENV=production \
    HOME=/tmp \
    HANTAR_BRIDGE_FOLDER=/var/lib/hantar-bridge \
    HANTAR_BRIDGE_SOCKET=/run/hantar-bridge/bridge.sock \
    HANTAR_BRIDGE_SPOOL=/run/hantar-bridge/spool
USER 10001
WORKDIR /opt/bridge
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["node", "-e", "require('http').get({socketPath:process.env.HANTAR_BRIDGE_SOCKET,path:'/v1/health',timeout:4000},r=>process.exit(r.statusCode===200?0:1)).on('error',()=>process.exit(1))"]
CMD ["node", "main.js"]
