# The service with its embedded networks, for CPUs. For NVIDIA GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple
# With other base networks: --build-arg EXTRAS=cutie,sam2
# docs/howto/deploy.md says how to run it and how to build it behind a package mirror.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/keymask
ENV PATH=/opt/keymask/bin:$PATH
WORKDIR /src

# Settings of pip; unset ones keep pip's defaults.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST

# Torch first and alone: its CPU build has its own index, so its files have no hashes in the lock file.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt ./
RUN pip install --no-deps --index-url "${TORCH_INDEX}" -c constraints.txt torch

# Dependencies before the code, so that a code change does not install them again. Every file must have the hash of the
# lock file. The second command adds what only torch's CUDA build needs.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock \
    && pip install -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY codec codec
COPY vos vos
COPY service service
COPY docker/entrypoint /opt/keymask/bin/entrypoint
# The demo compiles the kernels for the processor that builds the image.
# Built with the setuptools of the lock file, not with one of its own.
# Packages of extras have no hashes in the lock file. Some need a build that fits torch's, from the same index.
ARG EXTRAS=
RUN pip install --no-deps --no-build-isolation . \
    && if [ -n "${EXTRAS}" ]; then \
         pip install --no-build-isolation --extra-index-url "${TORCH_INDEX}" -c constraints.txt ".[${EXTRAS}]"; fi \
    && NUMBA_CACHE_DIR=/opt/keymask/kernels keymask demo --out /tmp/demo


FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 keymask \
    && useradd --uid 10001 --gid keymask --home-dir /data --no-create-home --shell /usr/sbin/nologin keymask \
    && install --directory --owner keymask --group keymask --mode 0750 /data
COPY --from=build /opt/keymask /opt/keymask
ENV PATH=/opt/keymask/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/kernels \
    KEYMASK_HOME=/data \
    KEYMASK_HOST=0.0.0.0 \
    KEYMASK_PORT=8000
# By number, so that Kubernetes' runAsNonRoot can check it.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# The service answers 503 until a worker has loaded the network.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["entrypoint"]
CMD ["serve"]
