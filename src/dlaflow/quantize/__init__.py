"""INT8 and FP16: one calibration, two outputs (a TensorRT cache and a Q/DQ model), and the tools around both.

A calibration reads like this, one file a step: `plan` says which tensors need a scale and which follow another one,
`observe` streams images through onnxruntime into `histogram`s, `methods` turns a histogram into a threshold, and
`calibrate` ties them together. `cache`, `qdq` and `fp16` write the results.
"""
