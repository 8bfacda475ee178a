"""Measures of weights, computed from their numbers block by block: statistics, checks, differences, digests, spectra."""
