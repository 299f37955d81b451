# fuseid as an image: `docker build -t fuseid .` at the root of the repository. docs/deploy.md has the arguments, what they
# were tried with, and the sizes.

# Any glibc image whose `python3` is of a version that pyproject.toml allows and has the module venv; pin it by its digest.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Pins and hashes of everything that is installed. requirements.lock has the registry's normal torch, which is built for
# CUDA and also runs without a GPU; a lock made with another index has a smaller one for CPUs only.
ARG LOCK=requirements.lock
# Extras of pyproject.toml, separated by spaces.
ARG EXTRAS="fast gcs heif s3"
# Registries, where the lock needs others than the normal one. Neither they nor any other layer of this stage are part of
# the image.
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ENV UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src

COPY requirements-bootstrap.lock ./
RUN python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --require-hashes -r requirements-bootstrap.lock \
    && python3 -m venv --without-pip /opt/fuseid

# Of the lock, which tests also use, only what fuseid needs at run time. A change of the code alone reuses this layer.
COPY pyproject.toml ${LOCK} ./
RUN set -- && for extra in ${EXTRAS}; do set -- "$@" --extra "$extra"; done \
    && /opt/tools/bin/uv pip install --python /opt/fuseid/bin/python --compile-bytecode --require-hashes \
        --constraint "${LOCK##*/}" --requirements pyproject.toml "$@"

COPY . .
RUN /opt/tools/bin/uv pip install --python /opt/fuseid/bin/python --compile-bytecode --no-deps --no-build-isolation . \
    && install -m 755 deploy/image/* /opt/fuseid/bin/ \
    && /opt/fuseid/bin/fuseid --version

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fuseid" \
      org.opencontainers.image.description="Semantic IDs for a catalogue of media: Ray jobs, look-ups, exports" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number rather than a name, with which Kubernetes can check that it is not root.
RUN groupadd --gid 10001 fuseid && useradd --uid 10001 --gid 10001 --create-home fuseid
COPY --from=build /opt/fuseid /opt/fuseid
# A job that is submitted with a wheel keeps the versions of the image (PIP_NO_DEPS), and one that is stopped has the time to
# commit its last wave (RAY_JOB_STOP_WAIT_TIME_S).
ENV PATH="/opt/fuseid/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    PIP_NO_DEPS=1 \
    RAY_JOB_STOP_WAIT_TIME_S=60
USER 10001:10001
WORKDIR /home/fuseid

# Healthy: the database that FUSEID_DB names can be read, and no run in it has lost its lease.
HEALTHCHECK --interval=2m --timeout=1m --start-period=5m --retries=3 CMD ["fuseid-health"]
ENTRYPOINT ["fuseid"]
CMD ["--help"]
