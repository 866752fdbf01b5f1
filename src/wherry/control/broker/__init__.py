"""Credentials: what turns a live grant into what the data plane of a storage back end enforces."""
