# The first stage has pip and the sources, the second only what runs.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/syncd
COPY pyproject.toml README.md LICENSE ./
COPY syncd ./syncd
# --build-arg EXTRAS=dask for --dask
ARG EXTRAS=
RUN pip --python /opt/syncd/bin/python install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

FROM python:3.12-slim
LABEL org.opencontainers.image.title="syncd" \
      org.opencontainers.image.description="Keeps Redis and MongoDB in step from YAML data contracts" \
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
# Whether every lane's thread runs. Whether readers get what a contract promises is /readyz, which no restart mends.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9399/livez', timeout=4)"]
ENTRYPOINT ["syncd"]
CMD ["run"]
