FROM python:3.11.14-slim-bookworm AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/dict-rate-limit \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
# Dependencies first: they change less often than the program.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY exporter exporter
COPY migrations migrations
COPY rules rules
COPY docs/man docs/man
# The lock that uv leaves is writable to everybody.
RUN uv sync --frozen --no-dev --no-editable && rm /opt/dict-rate-limit/.lock


# No compiler, no package index, no source tree: an interpreter and a virtual environment.
FROM python:3.11.14-slim-bookworm

LABEL org.opencontainers.image.title="dict-rate-limit-exporter" \
      org.opencontainers.image.description="Prometheus exporter with rules-based alerting for the token buckets of DICT" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/dict-rate-limit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DICT_RATE_LIMIT_RULES__FILES=/etc/dict-rate-limit/rules/*.yml
RUN groupadd --gid 65532 dict-rate-limit \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin dict-rate-limit
COPY --from=build /opt/dict-rate-limit /opt/dict-rate-limit
# Readable to the user below, whatever the checkout's umask was.
COPY --chmod=644 rules/dict-rate-limit.yml /etc/dict-rate-limit/rules/
USER 65532:65532
WORKDIR /tmp
EXPOSE 9862 9863
ENTRYPOINT ["dict-rate-limit"]
CMD ["run"]
