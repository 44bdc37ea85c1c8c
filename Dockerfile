# The mail server as an image: no compiler, no root, one volume.
#
#   docker run -d --name posthouse --stop-timeout 30 -v posthouse:/data -e POSTHOUSE_HOSTNAME=mail.example.com \
#       -p 25:25 -p 587:587 -p 127.0.0.1:8025:8025 posthouse
#   docker exec posthouse posthouse key create app
#
# Docker lets every user of a container bind port 25 (net.ipv4.ip_unprivileged_port_start=0). Where the engine does not,
# give that sysctl to the container (Kubernetes: securityContext.sysctls) instead of a capability or root.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/posthouse
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN /opt/posthouse/bin/pip install --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY config/ config/
COPY mta/ mta/
COPY api/ api/
RUN /opt/posthouse/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin posthouse
RUN install -d -o posthouse -g posthouse -m 700 /data
COPY --from=build /opt/posthouse /opt/posthouse
ENV PATH=/opt/posthouse/bin:$PATH PYTHONUNBUFFERED=1 POSTHOUSE_DATA_DIR=/data POSTHOUSE_API__ADDRESS=0.0.0.0:8025
USER posthouse
WORKDIR /data
VOLUME /data
EXPOSE 25 587 8025
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; port = os.environ['POSTHOUSE_API__ADDRESS'].rpartition(':')[2]; urllib.request.urlopen(f'http://127.0.0.1:{port}/readyz', timeout=4)"]
ENTRYPOINT ["posthouse"]
CMD ["serve"]
