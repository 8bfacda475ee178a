"""R's serialization, and R torch's files, which several formats read."""
