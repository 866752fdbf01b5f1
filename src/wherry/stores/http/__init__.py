"""What adapters of object stores share; nothing in it knows whose protocol is spoken.

`wire` and `connection` (HTTP/1.1 over a kept connection for each thread), `patience` (retries, and how an unknown
outcome is settled), `fleet` and `lane` (many small requests under way, sent by one thread), `checksum`, `xml` (answers,
from whoever sent them), `metadata` and `attributes` (the keys in which an object keeps what an item was), `reader` (an
open object).
"""
