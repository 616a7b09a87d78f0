"""From an ONNX file to TensorRT's layers. Knows nothing of the DLA."""
