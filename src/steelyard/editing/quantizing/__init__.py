"""Quantised weights: integers, small floats and blocks in the layouts of the libraries that load them.

| file | holds |
|---|---|
| `request.py` | what is asked for, checked: kind, library, cells |
| `choosing.py` | which weights become quantised, and the cells of each |
| `floating.py`, `tables.py`, and `numerics.grids` | the formulas, on NumPy blocks |
| `cells.py` | scales and codes of a weight, computed when they are read |
| `own.py`, `compressed_tensors.py`, `bitsandbytes.py`, `torchao.py`, `gguf.py`, `onnx.py` | the layouts |
| `quantize.py` | `quantize` and `dequantize` |
"""
