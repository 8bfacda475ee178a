"""The layers of a net as a transfer sees them: their weights in one common form, and their possible interpretations."""
