"""The inspector: one page for every net, written to a file as a report or shown by a local server."""
