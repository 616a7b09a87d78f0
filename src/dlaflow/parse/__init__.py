"""NVIDIA's text and files become records; never crash, keep unknown lines."""
