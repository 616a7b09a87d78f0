"""Many models on many targets: each model is a trial of its own, every answer a line of a file, and a page shows all."""
