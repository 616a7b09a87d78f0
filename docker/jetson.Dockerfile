# dlaflow in a container on a Jetson. The base image must be of the host's own JetPack: the CUDA and DLA drivers are the
# host's, and an image of another release fails in ways that nothing explains. docker/README.md tells which is which.
#
#   docker build -f docker/jetson.Dockerfile --build-arg BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 -t dlaflow .
#   docker run --rm --runtime nvidia -v "$PWD":/work dlaflow doctor
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

# Jetson's DLA compiler is a package of its own that the images lack; without it libnvinfer_plugin does not even load.
# Releases that have no such package bring the compiler otherwise; where there is one, it must install.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip python3-venv python3-libnvinfer \
    && if apt-cache show nvidia-l4t-dla-compiler > /dev/null 2>&1; then \
        apt-get install -y --no-install-recommends nvidia-l4t-dla-compiler; \
    else \
        echo "this release has no package nvidia-l4t-dla-compiler"; \
    fi \
    && rm -rf /var/lib/apt/lists/*

# Every package by its hash, uv itself too (requirements/, made by scripts/lock).
COPY requirements /opt/src/requirements
RUN python3 -m pip install --no-cache-dir --require-hashes --requirement /opt/src/requirements/uv.txt

# TensorRT's bindings are for the system's Python. JetPack 6 has 3.10, which dlaflow runs with; JetPack 5 has 3.8, which
# it does not, so there dlaflow gets a Python of its own (in /opt, where every user may read it) and builds through trtexec.
ENV UV_PYTHON_INSTALL_DIR=/opt/python
RUN if python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
        uv venv --system-site-packages --python "$(command -v python3)" /opt/dlaflow; \
    else \
        uv venv --python 3.11 /opt/dlaflow; \
    fi \
    && uv pip install --python /opt/dlaflow/bin/python --no-cache --require-hashes --requirement /opt/src/requirements/jetson.txt

COPY LICENSE README.md pyproject.toml /opt/src/
COPY src /opt/src/src
RUN uv pip install --python /opt/dlaflow/bin/python --no-cache --no-deps --no-build-isolation /opt/src

# An ordinary user, of the group that owns Jetson's GPU and DLA device nodes. Files in /work belong to whom
# `docker run --user` names; without it to user 1000, who is the first user of a Jetson.
RUN useradd --create-home --uid 1000 --groups video dlaflow
USER dlaflow

ENV PATH=/opt/dlaflow/bin:/usr/src/tensorrt/bin:$PATH
WORKDIR /work
ENTRYPOINT ["dlaflow"]
CMD ["doctor"]
