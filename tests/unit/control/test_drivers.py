"""Drivers that no server at hand enforces, against the contract that is documented; and the policies of buckets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from wherry.control.broker import s3_policy, smb_user
from wherry.control.broker.blob_token import BlobToken
from wherry.control.broker.port import NoSlot, Wanted
from wherry.control.broker.registry import drivers
from wherry.control.broker.s3_session import S3Session
from wherry.control.broker.smb_user import SmbUser
from wherry.model.drivers import DRIVERS
from wherry.model.errors import RunError, Unavailable
from wherry.stores.blob.service import Service
from wherry.stores.http.patience import Patience
from wherry.stores.http.wire import Wire
from wherry.stores.port import no_fence

SESSION = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>
<SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2031-11-09T14:24:16Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
REFUSAL = """<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>m</Message></Error>
</ErrorResponse>"""


class Documented:
    """Answers what the documents say, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""


@pytest.fixture
def service() -> Iterator[Documented]:
    documented = Documented()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            documented.asked.append((self.path, {name: one for name, (one,) in parse_qs(text).items()}))
            self.send_response(documented.status)
            self.send_header("Content-Length", str(len(documented.body)))
            self.end_headers()
            self.wfile.write(documented.body.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with serving(Handler) as documented.url:
        yield documented


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def signed(subject: str, audience: str) -> str:
    return f"assertion of {subject} for {audience}"


def test_a_session_of_s3_is_asked_for_as_it_is_documented(service: Documented) -> None:
    told = {
        "stsEndpoint": service.url, "bucket": "b", "region": "eu-west-1", "subject": "wherry:/e",
        "roleArn": "arn:aws:iam::123456789012:role/mover",
    }  # fmt: skip
    wanted = Wanted("wherry-1-2", "run", "https://s3/b", "mirror", b"p", told)
    service.body = SESSION
    issued = S3Session(signed).issue(wanted, time.time())
    ((path, asked),) = service.asked
    assert (path, asked["Action"], asked["Version"]) == ("/", "AssumeRoleWithWebIdentity", "2011-06-15")
    assert asked["RoleArn"] == told["roleArn"]
    assert asked["WebIdentityToken"] == "assertion of wherry:/e for sts.amazonaws.com"
    assert (asked["RoleSessionName"], asked["DurationSeconds"]) == ("wherry-1-2", "3600")
    policy = json.loads(asked["Policy"])
    assert policy["Statement"][0]["Resource"] == "arn:aws:s3:::b/p/*"
    assert "DateLessThan" not in asked["Policy"]
    assert (issued.material.identity, issued.material.secret) == ("ASIAEXAMPLE", "secret\ntoken")
    assert issued.expires_at == 1952000656.0

    service.status, service.body = 400, REFUSAL
    with pytest.raises(RunError, match="InvalidIdentityToken"):
        S3Session(signed).renew(wanted, issued.material, time.time())
    service.status = 503
    with pytest.raises(Unavailable):
        S3Session(signed).issue(wanted, time.time())
    with pytest.raises(RunError, match="too long"):
        S3Session(signed).issue(Wanted("i", "r", "p", "write", b"x" * 2000, told), time.time())


def test_a_token_for_blob_is_asked_for_as_it_is_documented(service: Documented) -> None:
    federation = {"authority": f"{service.url}/", "tenantId": "tenant", "clientId": "client"}
    wanted = Wanted("i", "r", "p", "write", b"", {"federation": federation, "subject": "wherry:/a"})
    service.body = json.dumps({"token_type": "Bearer", "expires_in": 3599, "access_token": "opaque"})
    issued = BlobToken(signed).issue(wanted, 0.0)
    assert service.asked == [
        (
            "/tenant/oauth2/v2.0/token",
            {
                "grant_type": "client_credentials", "client_id": "client",
                "scope": "https://storage.azure.com/.default",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": "assertion of wherry:/a for api://AzureADTokenExchange",
            },
        )
    ]  # fmt: skip
    assert issued.material.secret == "Bearer opaque"
    assert issued.expires_at == pytest.approx(time.time() + 3599, abs=60)
    assert "opaque" not in repr(issued)
    for status, error in ((401, RunError), (302, RunError), (500, Unavailable), (429, Unavailable)):
        service.status = status
        with pytest.raises(error):
            BlobToken(signed).renew(wanted, issued.material, 0.0)


def test_a_token_is_sent_as_a_header_and_a_sas_in_the_query() -> None:
    rest = b" HTTP/1.1\r\nHost: h\r\nx-ms-version: 2024-11-04\r\n"
    for secret, head in (
        ("Bearer opaque", b"GET /c/a?comp=x" + rest + b"Authorization: Bearer opaque\r\n"),
        ("?sig=s", b"GET /c/a?comp=x&sig=s" + rest),
    ):
        wire = Wire.__new__(Wire)
        wire.address = type("Address", (), {"path": "/c", "netloc": "h"})()
        made = Service(wire, secret, no_fence, Patience())
        assert made._head("GET", b"a", "comp=x", "").startswith(head)


@pytest.mark.parametrize(
    ("prefix", "resource", "listed"),
    [
        (b"", "arn:aws:s3:::b/*", None),
        (b"a/b", "arn:aws:s3:::b/a/b/*", "a/b/*"),
        (b"*", "arn:aws:s3:::b/${*}/*", "${*}/*"),
        (b"a?b$c", "arn:aws:s3:::b/a${?}b${$}c/*", "a${?}b${$}c/*"),
        ("ü".encode(), "arn:aws:s3:::b/ü/*", "ü/*"),
    ],
)  # fmt: skip
def test_attack_66_a_policy_names_bucket_folder_deeds_and_end(
    prefix: bytes, resource: str, listed: str | None
) -> None:
    found = json.loads(s3_policy.document("b", "", prefix, "write", 1952000656.9))
    objects, listing, *more = found["Statement"]
    ends = {"DateLessThan": {"aws:CurrentTime": "2031-11-09T14:24:16Z"}}
    assert (objects["Resource"], objects["Condition"]) == (resource, ends)
    assert "s3:DeleteObject" not in objects["Action"]
    wanted = ends | ({"StringLike": {"s3:prefix": listed}} if listed else {})
    assert (listing["Resource"], listing["Condition"]) == ("arn:aws:s3:::b", wanted)
    assert [one["Sid"] for one in more] == ([] if listed else ["Uploads"])


def test_policies_of_other_deeds_and_clouds() -> None:
    mirror, read = (
        json.loads(s3_policy.document("b", "cn-north-1", b"p", access))["Statement"][0]
        for access in ("mirror", "read")
    )
    assert "s3:DeleteObject" in mirror["Action"]
    assert read["Action"] == ["s3:GetObject"]
    assert read["Resource"].startswith("arn:aws-cn:s3:::")
    with pytest.raises(RunError):
        s3_policy.document("b", "", b"\xff", "write")


def test_the_reference_page_tells_of_each_driver_what_is_so() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "credentials.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.name}` | {one.title} | {'; '.join(one.limits) or 'nothing'} | {'; '.join(one.cannot) or '—'} | "
        f"{one.ends} | {one.shown or '**unproven here**'} |"
        for one in DRIVERS.values()
    ]


def test_every_driver_is_told_and_there() -> None:
    class Nothing:
        def account(self, account_key: str) -> Any:
            raise LookupError(account_key)

        def named(self, uri: str, author: str) -> str:
            raise LookupError(uri)

    found = drivers(Nothing(), 1.0, {}, signed)
    assert {name: one.facts for name, one in found.items()} == dict(DRIVERS)
    assert {name for name, facts in DRIVERS.items() if not facts.proven} == {"blob-token", "s3-session"}
    for facts in DRIVERS.values():
        assert facts.proven is ("unproven" not in facts.warning)


def test_attack_66_the_command_of_a_samba_gets_no_word_from_outside(tmp_path: Any) -> None:
    program = tmp_path / "program"
    wanted = Wanted("wherry-1-2", "run", "smb://h/s", "write", b"", {"host": "H", "share": "$(touch x); s"})
    seen = tmp_path / "seen"

    def says(answer: str, code: int = 0) -> SmbUser:
        program.write_text(f"#!/bin/sh\necho \"$@\" > {seen}\ncat >> {seen}\necho '{answer}'\nexit {code}\n")
        program.chmod(0o700)
        return SmbUser({"h": (str(program), "fixed")})

    issued = says('{"user": "u"}').issue(wanted, 600.0)
    words, _, told = seen.read_text().partition("\n")
    assert words == "fixed open"
    assert json.loads(told) == {
        "id": "wherry-1-2", "share": "$(touch x); s", "access": "write", "password": issued.material.secret,
        "until": 600,
    }  # fmt: skip
    assert len(issued.material.secret) >= 32
    with pytest.raises(NoSlot):
        says('{"full": true}').issue(wanted, 600.0)
    for answer, code in (("{}", 0), ("nothing", 0), ('{"user": "u"}', 1), ("[]", 0)):
        with pytest.raises(Unavailable):
            says(answer, code).issue(wanted, 600.0)
    with pytest.raises(Unavailable, match="FileNotFoundError"):
        SmbUser({"h": ("/nothing/there",)}).withdraw(wanted, issued.material)
    with pytest.raises(RunError, match="named no command"):
        SmbUser({}).names(wanted.told)
    assert smb_user.SmbUser({}).facts.limits
