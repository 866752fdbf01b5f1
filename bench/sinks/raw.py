"""The ceiling of a sink: puts made once and sent over and over by blocking sockets, with no file, list or log.

Whatever a mover reaches below this is its own doing; what a put costs the sink here it costs in every run.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench import sink as sinks
from bench.sinks.certificate import Trust

PROCESSES, THREADS = 2, 4


@dataclass(frozen=True)
class Ceiling:
    """Puts a second, and microseconds of processor time a put on both sides."""

    name: str
    puts: int
    seconds: float
    client: float
    server: float


def measure(kind: str, folder: Path, trust: Trust | None, puts: int, size: int = 4096) -> Ceiling:
    """Send `puts` objects of `size` bytes as fast as this machine can."""
    share = puts // PROCESSES
    spawn = multiprocessing.get_context("spawn")
    with sinks.running(kind, folder, trust) as sink:
        authority = str(trust.authority) if trust else ""
        gate = spawn.Barrier(PROCESSES + 1)
        results = spawn.SimpleQueue()
        clients = [
            spawn.Process(target=_client, args=(number, sink, authority, share, size, gate, results))
            for number in range(PROCESSES)
        ]
        for client in clients:
            client.start()
        gate.wait(60)
        begun = time.perf_counter()
        processor = sum(results.get() for _ in clients)
        seconds = time.perf_counter() - begun
        for client in clients:
            client.join()
    count = sink.report["objects"]
    if count != share * PROCESSES or sink.report["bytes"] != count * size:
        raise RuntimeError(f"the sink counted {count} objects of {share * PROCESSES}")
    name = f"{kind}, {sink.scheme}"
    return Ceiling(name, count, seconds, processor / count * 1e6, sink.report["processor"] / count * 1e6)


def _client(number, sink, authority, share, size, gate, results) -> None:  # type: ignore[no-untyped-def]
    context = ssl.create_default_context(cafile=authority) if authority else None
    connections = [_connect(sink.port, context) for _ in range(THREADS)]
    threads = [
        threading.Thread(target=_put, args=(made, sink, f"{number}-{index}", share // THREADS, size))
        for index, made in enumerate(connections)
    ]
    gate.wait(60)
    before = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(time.process_time() - before)


def _connect(port: int, context: ssl.SSLContext | None) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(made, server_hostname="127.0.0.1") if context else made


def _put(connection: socket.socket, sink: sinks.Sink, name: str, count: int, size: int) -> None:
    meta = "x-ms-meta-" if sink.kind == "blob" else "x-amz-meta-"
    facts = "".join(f"{meta}posix_{key}: 0000000000\r\n" for key in ("mtime", "ctime", "mode", "owner"))
    rest = (
        f" HTTP/1.1\r\nHost: 127.0.0.1:{sink.port}\r\nx-ms-version: 2024-11-04\r\nx-ms-blob-type: BlockBlob\r\n"
        f"{facts}Content-Length: {size}\r\n\r\n"
    ).encode() + os.urandom(size)
    start = f"PUT {sink.prefix}{name}-".encode()
    for index in range(count):
        connection.sendall(b"%b%d%b" % (start, index, rest))
        if not connection.recv(4096).startswith(b"HTTP/1.1 20"):
            raise RuntimeError("the sink refused a put")
    connection.close()
