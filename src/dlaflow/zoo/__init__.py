"""The demo: two networks, two data sets, training and export. The only package that imports torch.

The walk-through needs a network that a DLA likes and one that it does not. Both are here, together with what turns them
into the ONNX files that everything else works on. A user's own network goes the same way as `package.module:factory`.
"""
