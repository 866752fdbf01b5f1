"""Servers that take what a mover sends, count it and keep nothing: Blob and S3, plain or TLS."""
