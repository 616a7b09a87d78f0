"""The demo networks and data, training and export: the only package that imports torch."""
