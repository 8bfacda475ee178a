"""PyTorch's tensors in archives and pickles, without PyTorch."""
