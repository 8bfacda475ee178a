"""JAX: activations and trees of modules that Flax and Equinox share."""
