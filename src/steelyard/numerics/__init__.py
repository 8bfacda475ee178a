"""Numbers read once, in blocks: summaries, histograms, moments, and what is not finite."""
