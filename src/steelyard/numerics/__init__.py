"""Block-wise computations on the numbers: summaries, histograms, moments, NaN and Inf, pictures."""
