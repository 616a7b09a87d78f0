# dlaflow in a container on a Jetson. The base image must be of the host's own JetPack: the CUDA and DLA drivers are the
# host's, and an image of another release fails in ways that nothing explains. docker/README.md tells which is which.
#
#   docker build -f docker/jetson.Dockerfile --build-arg BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 -t dlaflow .
#   docker run --rm --runtime nvidia -v "$PWD":/work dlaflow doctor
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

# Jetson's DLA compiler is a package of its own that the images lack; without it libnvinfer_plugin does not even load.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip python3-venv python3-libnvinfer \
    && (apt-get install -y --no-install-recommends nvidia-l4t-dla-compiler || true) \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m pip install --no-cache-dir uv

# TensorRT's bindings are for the system's Python. JetPack 6 has 3.10, which dlaflow runs with; JetPack 5 has 3.8, which
# it does not, so there dlaflow gets a Python of its own and builds through trtexec.
RUN if python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then \
        uv venv --system-site-packages --python "$(command -v python3)" /opt/dlaflow; \
    else \
        uv venv --python 3.11 /opt/dlaflow; \
    fi

COPY . /opt/src
RUN uv pip install --python /opt/dlaflow/bin/python --no-cache "/opt/src[run]" "cuda-python<13"

ENV PATH=/opt/dlaflow/bin:/usr/src/tensorrt/bin:$PATH
WORKDIR /work
ENTRYPOINT ["dlaflow"]
CMD ["doctor"]
