"""R's serialisation, and the networks in it that several formats read."""
