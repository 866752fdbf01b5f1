"""Azure Blob Storage and what speaks its protocol, by a thin REST client of our own.

From the bottom: `wire` (HTTP/1.1 over a kept connection for each thread), `patience` (retries, and how an unknown
outcome is settled), `requests` (the calls), `listing` and `metadata` (their shapes), `store` (the port).
"""
