"""A run as data: steps, fingerprints, resume."""
