"""Azure Blob Storage and what speaks its protocol, by a thin REST client of our own.

Over `wherry.stores.http`, from the bottom: `service` (how a request is made and what a refusal means), `requests` (the
calls of Blob), `hierarchy` (those of Data Lake, for accounts with real folders), `listing` and `shapes` (what answers
hold), `store` (the port).
"""
