# isheep in an image: versions that were tested together, every package by its hash, no root at run time.
#
#   docker build --tag isheep .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/work" isheep run lamb --dir runs/first
#
# For a build that repeats to the byte, give the base by its digest: --build-arg PYTHON=python@sha256:...

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/isheep
ENV PATH=/opt/isheep/bin:$PATH
WORKDIR /src
COPY requirements requirements
COPY constraints.txt constraints.txt
# What builds comes first, so that packages without a wheel are built with it and fetch nothing.
RUN pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/build.txt \
    && pip install --require-hashes --no-deps --no-build-isolation --use-pep517 --requirement requirements/base.txt
# torch by its hash; the CUDA libraries that it names by exact versions (docs/supply-chain.md).
RUN pip install --require-hashes --no-deps --requirement requirements/torch.txt \
    && pip install --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-deps --no-build-isolation . && isheep recipes > /dev/null

FROM ${PYTHON}
COPY --from=build /opt/isheep /opt/isheep
# Models that are fetched and what libraries keep lie in the mounted folder, where they outlive the container.
ENV PATH=/opt/isheep/bin:$PATH HOME=/work HF_HOME=/work/.cache/huggingface PYTHONUNBUFFERED=1
RUN useradd --create-home --home-dir /work --uid 1000 isheep
USER 1000
WORKDIR /work
# Ctrl-C and `docker stop` end a run in good order; the same command goes on. It may need a moment: --stop-timeout 120.
STOPSIGNAL SIGTERM
ENTRYPOINT ["isheep"]
CMD ["--help"]
