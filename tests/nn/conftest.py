"""Triton's interpreter, for tests of kernels without a GPU."""

import os

# read when Triton is imported; `benchmarks/device.py` sets it to 0, to test on a GPU
os.environ.setdefault("TRITON_INTERPRET", "1")
