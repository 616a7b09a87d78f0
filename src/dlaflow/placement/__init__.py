"""Findings become devices, devices loadables, loadables switches."""
