"""Changes to an ONNX graph that keep its outputs and please a DLA: one rewrite a file, each proved by its tests."""
