"""The layers of a net in a transfer: their weights in a common form, and their possible interpretations."""
