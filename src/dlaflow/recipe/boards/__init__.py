"""The board half of a run: what a recipe does on Jetsons over SSH."""
