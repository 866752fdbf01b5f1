"""Azure Blob Storage and what speaks its protocol, by a thin REST client of our own.

Over `wherry.stores.http`: `requests` (the calls), `listing` (their shapes), `store` (the port).
"""
