"""dlaflow takes a vision model to NVIDIA's DLA and proves that it stays there."""

__version__ = "0.1.0"
