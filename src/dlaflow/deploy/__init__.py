"""deploy: the files that make another system use an engine, on the right core, from what its manifest tells."""
