# syntax=docker/dockerfile:1
# mer-r1 in a container, run by a user without rights. A GPU needs a driver and the NVIDIA Container Toolkit alone: the
# default build of torch brings CUDA's libraries.
#
#   docker build -t mer-r1 .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" mer-r1 predict clip.mp4 --model runs/mine
#   docker run --rm -p 127.0.0.1:7860:7860 mer-r1 demo --host 0.0.0.0 --model Qwen/Qwen2.5-Omni-3B
#   docker run --rm --gpus all --ipc=host --user "$(id -u):$(id -g)" -v "$PWD:/work" mer-r1 train omni7b-sft-lora
#
# Without a GPU, 5 GB smaller: --build-arg TORCH_INDEX=URL, the index of CPU builds that pytorch.org names.
# On another base, for example CUDA's own: --build-arg BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04
# Other extras (README.md): --build-arg EXTRAS=train,report,judge
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG EXTRAS=demo
ARG TORCH_INDEX=""
# An argument is in the environment of the build alone; this is where the mounts below are.
ARG PIP_CACHE_DIR=/var/cache/pip

# What a base without Python lacks. C compilers and the like are not needed: every dependency comes as a wheel.
RUN if ! python3 -c "import ensurepip, venv" 2> /dev/null; then \
      apt-get update \
      && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /opt/mer-r1
ENV PATH=/opt/mer-r1/bin:$PATH

WORKDIR /opt/source
COPY pyproject.toml README.md LICENSE ./
COPY mer_r1 mer_r1
RUN --mount=type=cache,target=/var/cache/pip \
    if [ -n "${TORCH_INDEX}" ]; then pip install --index-url "${TORCH_INDEX}" torch torchvision; fi
RUN --mount=type=cache,target=/var/cache/pip pip install ".[${EXTRAS}]"

# Whoever it runs as (--user) may write caches in this home, and files where /work is mounted.
RUN useradd --create-home --uid 10001 mer && chmod 1777 /home/mer && mkdir /work && chown mer /work
ENV HOME=/home/mer
USER 10001
WORKDIR /work
EXPOSE 7860
ENTRYPOINT ["mer-r1"]
CMD ["--help"]
