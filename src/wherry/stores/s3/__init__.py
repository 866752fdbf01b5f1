"""S3 and what speaks its protocol (MinIO, Ceph and others), by a thin client of our own.

Over `wherry.stores.http`: `place` (where a bucket is), `signature` (who asks), `service` (a call with its retries
and errors), `listing` (the service's XML), `objects` and `multipart` (the calls), `uploads` (which open upload
belongs to which file), `conditions` (where the service does not keep them), `store` (the port).
"""
