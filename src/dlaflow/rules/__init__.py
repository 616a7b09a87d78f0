"""What the DLA takes and why: one file a layer family, one class a rule."""
