"""Runs one sink: prints the port, serves until its standard input ends, then writes its report and ends.

python -m bench.sinks blob --report FILE [--certificate FILE --key FILE] [--latency 0.01] [--checked]
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import ssl
import sys
from pathlib import Path

from bench.sinks import blob, s3
from bench.sinks.loop import Loop


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sinks")
    parser.add_argument("kind", choices=["blob", "s3"])
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--objects", type=Path, help="write a line for each object too")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer waits")
    parser.add_argument("--checked", action="store_true", help="hash every body")
    options = parser.parse_args()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    dialect, prefix = (blob.BlobDialect(), blob.META) if options.kind == "blob" else (s3.S3Dialect(), s3.META)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    # Nothing here makes cycles; a collection would only go through all heads that are kept.
    gc.disable()
    Loop(
        dialect, listener, sys.stdin.fileno(),
        context=context, latency=options.latency, checked=options.checked,
    ).run()  # fmt: skip
    options.report.write_text(json.dumps(dialect.tally.report(prefix)))
    if options.objects:
        with options.objects.open("w") as out:
            for line in dialect.tally.lines(prefix):
                out.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
