# The first stage has pip and the sources, the second only what runs. Both are named by an exact version; for a build that
# can be repeated name the image itself: --build-arg PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:..., with the digest
# that `docker buildx imagetools inspect python:3.12.12-slim-bookworm` prints.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/syncd
COPY deploy/lock ./lock
# --build-arg EXTRAS=dask for --dask
ARG EXTRAS=
# What is installed is what the lock files name, by its hash: nothing else, and nothing newer.
RUN pip install --no-cache-dir --require-hashes -r lock/build.txt && \
    pip --python /opt/syncd/bin/python install --no-cache-dir --require-hashes \
        -r "lock/requirements${EXTRAS:+-$EXTRAS}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY syncd ./syncd
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . && \
    pip --python /opt/syncd/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="syncd" \
      org.opencontainers.image.description="Keeps Redis and MongoDB in sync from YAML data contracts" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --user-group --uid 10001 --no-create-home --shell /usr/sbin/nologin syncd
COPY --from=build /opt/syncd /opt/syncd
ENV PATH=/opt/syncd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SYNCD_HTTP=0.0.0.0:9399 \
    SYNCD_CONTRACTS=/contracts
USER 10001:10001
EXPOSE 9399
# Whether every lane's thread runs. Whether readers get what a contract promises is /readyz, which no restart repairs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9399/livez', timeout=4)"]
ENTRYPOINT ["syncd"]
CMD ["run"]
