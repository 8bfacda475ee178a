"""Pages: the report, and the server of the inspector."""
