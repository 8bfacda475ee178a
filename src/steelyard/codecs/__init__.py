"""Decoders that formats share: bytes in, plain Python out."""
