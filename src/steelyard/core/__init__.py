"""The shape that everything takes: sources, weights, and the words for their meaning."""
