"""The sinks over real sockets: what they answer, count and keep."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums

from bench import sink as sinks
from bench.sink import Sink
from bench.sinks import certificate

BODY = b"b" * 5000


class Client:
    """One kept connection to a sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        where: Any = ("127.0.0.1", sink.port)
        if sink.trust:
            context = ssl.create_default_context(cafile=str(sink.trust.authority))
            self.wire: http.client.HTTPConnection = http.client.HTTPSConnection(*where, context=context)
        else:
            self.wire = http.client.HTTPConnection(*where)

    def ask(
        self, method: str, name: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        self.wire.request(method, self.sink.prefix + name, body, headers or {})
        answer = self.wire.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()

    def close(self) -> None:
        self.wire.close()


@pytest.fixture(params=["http", "https"])
def trust(request: pytest.FixtureRequest, tmp_path: Path) -> certificate.Trust | None:
    return certificate.make(tmp_path) if request.param == "https" else None


@pytest.fixture
def blob(tmp_path: Path) -> Iterator[Client]:
    with sinks.running("blob", tmp_path) as sink:
        client = Client(sink)
        yield client
        client.close()


def test_a_blob_is_counted_with_its_size_and_metadata(
    tmp_path: Path, trust: certificate.Trust | None
) -> None:
    with sinks.running("blob", tmp_path, trust) as sink:
        client = Client(sink)
        assert client.ask("HEAD", "a%20b")[0] == 404
        assert client.ask("PUT", "a%20b?sv=1&sig=x", BODY, {"x-ms-meta-mode": "0644"})[0] == 201
        status, headers, _ = client.ask("HEAD", "a%20b")
        client.close()

    assert (status, headers["content-length"], headers["x-ms-meta-mode"]) == (200, "5000", "0644")
    assert sink.objects == [
        {"path": "/bench/target/a b", "size": 5000, "digests": [], "metadata": {"mode": "0644"}}
    ]
    assert sink.report["calls"] == {"Put Blob": 1, "Get Blob Properties": 2}
    assert (sink.report["objects"], sink.report["bytes"], sink.report["again"]) == (1, 5000, 0)
    assert sink.report["metadata"] == {"mode": 1}


def test_a_second_blob_of_a_name_is_noticed(tmp_path: Path) -> None:
    with sinks.running("blob", tmp_path) as sink:
        client = Client(sink)
        for _ in range(2):
            client.ask("PUT", "one", b"x")
        client.close()

    assert (sink.report["objects"], sink.report["again"]) == (1, 1)


def block(number: int) -> str:
    return base64.b64encode(b"%06d" % number).decode()


def test_blocks_become_a_blob_in_the_order_of_their_list(
    tmp_path: Path, trust: certificate.Trust | None
) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(3)]
    with sinks.running("blob", tmp_path, trust, checked=True) as sink:
        client = Client(sink)
        for number in (2, 0, 1):
            assert client.ask("PUT", f"big?comp=block&blockid={block(number)}", pieces[number])[0] == 201
        status, _, staged = client.ask("GET", "big?comp=blocklist&blocklisttype=uncommitted")
        listed = "".join(f"<Latest>{block(number)}</Latest>" for number in range(3))
        assert client.ask("PUT", "big?comp=blocklist", f"<BlockList>{listed}</BlockList>".encode())[0] == 201
        assert client.ask("GET", "big?comp=blocklist")[0] == 404
        client.close()

    assert status == 200
    assert staged.count(b"<Size>300000</Size>") == 3
    assert sink.objects[0]["size"] == 900_000
    assert sink.objects[0]["digests"] == [[300_000, hashlib.sha256(piece).hexdigest()] for piece in pieces]


def test_a_list_with_a_block_that_never_came_is_refused(blob: Client) -> None:
    status, headers, _ = blob.ask("PUT", "x?comp=blocklist", b"<BlockList><Latest>AAAA</Latest></BlockList>")

    assert (status, headers["x-ms-error-code"]) == (400, "InvalidBlockList")


def test_conditions_of_writes_hold(blob: Client) -> None:
    assert blob.ask("PUT", "one", b"x", {"If-Match": '"other"'})[0] == 412
    assert blob.ask("PUT", "one", b"x", {"If-None-Match": "*"})[0] == 201
    assert blob.ask("PUT", "one", b"y", {"If-None-Match": "*"})[0] == 412


@pytest.mark.parametrize("kind", ["blob", "s3"])
def test_a_wrong_crc_is_refused(tmp_path: Path, kind: str) -> None:
    crc = checksums.crc64nvme(BODY)
    name, order = ("x-ms-content-crc64", "little") if kind == "blob" else ("x-amz-checksum-crc64nvme", "big")
    right = base64.b64encode(crc.to_bytes(8, "little" if order == "little" else "big")).decode()
    with sinks.running(kind, tmp_path) as sink:
        client = Client(sink)
        wrong = client.ask("PUT", "one", BODY, {name: "AAAAAAAAAAA="})[0]
        assert client.ask("HEAD", "one")[0] == 404
        answer = client.ask("PUT", "one", BODY, {name: right})
        client.close()

    assert (wrong, answer[0] // 100) == (400, 2)
    assert sink.report["objects"] == 1
    assert kind == "blob" or answer[1][name] == right


def test_a_checked_sink_compares_md5(tmp_path: Path) -> None:
    with sinks.running("blob", tmp_path, checked=True) as sink:
        client = Client(sink)
        wrong = client.ask("PUT", "one", BODY, {"Content-MD5": base64.b64encode(b"0" * 16).decode()})
        client.close()

    assert (wrong[0], wrong[1]["x-ms-error-code"]) == (400, "Md5Mismatch")


def test_a_container_is_always_empty(blob: Client) -> None:
    blob.ask("PUT", "one", b"x")

    status, _, body = blob.ask("GET", "?restype=container&comp=list&prefix=")
    assert status == 200
    assert b"<Blobs></Blobs>" in body


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Client]:
    with sinks.running("s3", tmp_path) as sink:
        client = Client(sink)
        yield client
        client.close()


def test_an_object_has_its_md5_as_etag_when_the_request_told_it(s3: Client) -> None:
    digest = hashlib.md5(BODY, usedforsecurity=False)
    coded = base64.b64encode(digest.digest()).decode()

    told = s3.ask("PUT", "one", BODY, {"Content-MD5": coded, "x-amz-meta-mtime": "1"})
    untold = s3.ask("PUT", "two", BODY)

    assert told[1]["etag"] == f'"{digest.hexdigest()}"'
    assert untold[1]["etag"].endswith('-1"')
    status, headers, _ = s3.ask("HEAD", "one")
    assert (status, headers["content-length"], headers["x-amz-meta-mtime"]) == (200, "5000", "1")
    assert s3.ask("HEAD", "three")[0] == 404


def test_parts_become_an_object(tmp_path: Path) -> None:
    with sinks.running("s3", tmp_path) as sink:
        client = Client(sink)
        _, _, body = client.ask("POST", "big?uploads", headers={"x-amz-meta-mode": "0600"})
        upload = body.split(b"<UploadId>")[1].split(b"<")[0].decode()
        for number in (2, 1):
            part = client.ask("PUT", f"big?partNumber={number}&uploadId={upload}", b"p" * number)
            assert part[0] == 200
            assert part[1]["etag"]
        parts = client.ask("GET", f"big?uploadId={upload}")[2]
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in (1, 2))
        done = client.ask("POST", f"big?uploadId={upload}", f"<C>{listed}</C>".encode())
        client.close()

    assert parts.index(b"<PartNumber>1<") < parts.index(b"<PartNumber>2<")
    assert b"-2&quot;</ETag>" in done[2]
    assert sink.objects[0]["size"] == 3
    assert sink.objects[0]["metadata"] == {"mode": "0600"}


def test_open_uploads_are_listed_until_they_end(s3: Client) -> None:
    bodies = [s3.ask("POST", f"{name}?uploads")[2] for name in ("a%20b", "a%20c", "z")]
    ids = [body.split(b"<UploadId>")[1].split(b"<")[0].decode() for body in bodies]

    listed = s3.ask("GET", "?uploads&prefix=a%20&encoding-type=url")[2]
    assert b"<Key>a%20b</Key>" in listed
    assert listed.count(b"<Upload>") == 2
    assert s3.ask("DELETE", f"a%20b?uploadId={ids[0]}")[0] == 204
    assert s3.ask("GET", f"a%20b?uploadId={ids[0]}")[0] == 404
    assert s3.ask("GET", "?uploads&prefix=a")[2].count(b"<Upload>") == 1


def test_a_copy_onto_itself_gives_other_metadata(s3: Client) -> None:
    s3.ask("PUT", "one", b"x", {"x-amz-meta-mode": "1"})

    answer = s3.ask("PUT", "one", headers={"x-amz-copy-source": "/target/one", "x-amz-meta-mode": "2"})

    assert b"<ETag>" in answer[2]
    assert s3.ask("HEAD", "one")[1]["x-amz-meta-mode"] == "2"


def test_the_frames_of_chunks_are_not_counted(tmp_path: Path) -> None:
    framed = b"3;chunk-signature=x\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
    headers = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    with sinks.running("s3", tmp_path, checked=True) as sink:
        client = Client(sink)
        assert client.ask("PUT", "one", framed, headers)[0] == 200
        client.close()

    assert sink.objects[0]["size"] == 5
    assert sink.objects[0]["digests"] == [[5, hashlib.sha256(b"abcde").hexdigest()]]


def test_a_bucket_is_always_empty(s3: Client) -> None:
    for query in ("?list-type=2&prefix=", "?prefix="):
        status, _, body = s3.ask("GET", query)
        assert status == 200
        assert b"<IsTruncated>false</IsTruncated>" in body
        assert b"<Key>" not in body
    assert b"us-east-1" in s3.ask("GET", "?location")[2]


def test_every_answer_waits_for_the_latency(tmp_path: Path) -> None:
    with sinks.running("blob", tmp_path, latency=0.05) as sink:
        client = Client(sink)
        begun = time.monotonic()
        for number in range(3):
            client.ask("PUT", str(number), b"x")
        passed = time.monotonic() - begun
        client.close()

    assert passed >= 0.15


def test_a_request_in_pieces_and_two_at_once_are_understood(tmp_path: Path) -> None:
    import socket

    with sinks.running("blob", tmp_path) as sink, socket.create_connection(("127.0.0.1", sink.port)) as wire:
        put = f"PUT {sink.prefix}x HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody".encode()
        for byte in put:
            wire.sendall(bytes([byte]))
        both = put.replace(b"/x ", b"/y ") + put.replace(b"/x ", b"/z ")
        wire.sendall(both)
        answers = b""
        while answers.count(b"201 Created") < 3:
            answers += wire.recv(4096)

    assert sink.report["objects"] == 3


def test_a_body_of_unknown_length_is_refused(tmp_path: Path) -> None:
    with sinks.running("blob", tmp_path) as sink:
        client = Client(sink)
        client.wire.request("PUT", sink.prefix + "x", iter([b"a", b"b"]))
        assert client.wire.getresponse().status == 501
        client.close()

    assert sink.report["refused"] == 1
