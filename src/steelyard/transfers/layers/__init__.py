"""The layers of a net as a transfer takes them: their weights in one common form, and how they may be read."""
