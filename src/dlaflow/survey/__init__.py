"""Many models on many targets: each model is a trial of its own, each answer a line of a file; a page shows all."""
