"""The words for what a grid can show; a command declares them without importing NumPy."""

OF_ONE = ("std", "norm", "rms", "mean", "max_abs", "sparsity", "nonfinite")
"""Statistics of one net; the first is the default."""
OF_TWO = ("change", "rank", "equal")
"""How a net differs from an older one; the first is the default."""
