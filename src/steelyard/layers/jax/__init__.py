"""JAX: what its libraries have in common."""
