"""A run as data: a TOML recipe becomes steps; a step whose inputs, options and code are the same is not done twice."""
