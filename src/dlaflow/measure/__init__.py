"""Latency, accuracy and power become measurements."""
