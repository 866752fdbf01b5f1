"""S3 behind a connection that a test makes bad."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.buckets import BucketServer
from tests.conformance.conftest import PART, QUICK, Case
from tests.faulty_wire import FaultyWire, faulty_wire
from wherry.stores.port import StoreSpec
from wherry.stores.s3.store import S3Store

Bad = tuple[Case, FaultyWire]
PARTS = r"^PUT \S*/large\?partNumber"


def reply(status: str, code: str = "", *headers: str) -> bytes:
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>' if code else ""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@contextmanager
def bad_wire(server: BucketServer, spec: StoreSpec) -> Iterator[Bad]:
    """A case whose stores speak to the bucket of `spec` over a wire for troubles."""
    host, port = server.host.split(":")
    with faulty_wire((host, int(port))) as wire:
        detour = replace(spec, location=spec.location.replace(server.host, f"127.0.0.1:{wire.port}"))
        case = Case(lambda fence: S3Store(detour, fence, QUICK, part=PART))
        yield case, wire
        for store in case.opened:
            store.close()
