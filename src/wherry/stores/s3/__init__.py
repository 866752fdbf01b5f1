"""S3 and what speaks its protocol (MinIO, Ceph and others), by a thin client of our own.

Over `wherry.stores.http`, from the bottom: `place` (where a bucket is), `signature` (who asks), `service` (a call with
its retries and errors), `listing` and `properties` (what answers hold), `objects` and `multipart` (the calls),
`conditions` (where a service does not keep them), `uploads` (which open upload belongs to which file), `writing` (each
change with what it expects), `folder` and `store` (the port).
"""
