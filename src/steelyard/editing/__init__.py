"""What people do next with weights: average, merge, prune, quantise and factorise them, on any weights, lazily."""
