"""Access to bytes: local and remote sources, read-ahead, and atomic writes."""
