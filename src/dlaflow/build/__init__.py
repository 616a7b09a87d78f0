"""Engines for every TensorRT: one BuildConfig, trtexec or the Python API."""
