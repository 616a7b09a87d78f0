"""Runners: one interface over what executes a model (onnxruntime on any computer, TensorRT on a board)."""
