"""One calibration, two outputs: a TensorRT cache and a DLA-legal Q/DQ model."""
