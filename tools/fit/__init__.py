"""How the shipped parameters come about: networks drawn by hand, measured points, the solver, cross-validation."""
