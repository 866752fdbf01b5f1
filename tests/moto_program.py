"""A server of S3: moto, behind a gate that checks what moto believes unseen.  Run as a process by `tests.buckets`.

The gate computes every signature anew by botocore, compares every checksum with the body, and keeps to the conditions
that moto overlooks, of writes and of policies.  The key that it is started with may do everything; users that are
made by IAM may do what their policies say, as moto decides.  A bucket whose name begins with `overlooks-`, `refuses-`
or `nocrc-` plays an older service: one that overlooks conditions of writes, refuses them, or knows no CRC-64;
`whole-` one that lists open uploads by whole keys only."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import unescape

os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
os.environ["S3_UPLOAD_PART_MIN_SIZE"] = "1"
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from awscrt.checksums import crc64nvme
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.access_control import IAMPolicyStatement
from moto.iam.models import iam_backends
from moto.moto_server.utilities import RegexConverter
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

IDENTITY, SECRET = sys.argv[1:3]
ACCOUNT = "123456789012"
CRC = "x-amz-checksum-crc64nvme"
Environ = dict[str, Any]
Start = Callable[..., Any]


class Refusal(Exception):
    """An error as the service writes it."""

    def __init__(self, status: str, code: str) -> None:
        self.status = status
        self.code = code


class Handler(MotoRequestHandler):
    """Keeps the headers as they came: WSGI cannot tell dashes from underscores."""

    def make_environ(self) -> Environ:
        return super().make_environ() | {"gate.headers": {k.lower(): v for k, v in self.headers.items()}}

    def log(self, *_: Any) -> None:
        """Nothing: what is printed is the port."""


class Gate:
    """Before moto: what a real service would refuse is refused."""

    def __init__(self, inner: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        self._inner = inner

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        asked.query = parse_qs(environ["QUERY_STRING"])
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        headers: dict[str, str] = environ["gate.headers"]
        try:
            self._check(environ, headers, body)
        except Refusal as refusal:
            text = b"" if environ["REQUEST_METHOD"] == "HEAD" else error(refusal.code)
            start(refusal.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
            return [text]
        echo = [(CRC, headers[CRC])] if CRC in headers and "/nocrc-" not in target(environ) else []
        algorithm = headers.get("x-amz-checksum-algorithm")
        if algorithm and "/nocrc-" not in target(environ):
            echo.append(("x-amz-checksum-algorithm", algorithm))

        def answer(status: str, found: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, found + (echo if status.startswith("200") else []), *more)

        if "/whole-" in target(environ) and "uploads" in parse_qs(
            environ["QUERY_STRING"], keep_blank_values=True
        ):
            return [of_whole_key(environ, b"".join(self._inner(environ, start)))]
        # One answer has not the name that the documents give it; blanks keep its length.
        return [
            piece.replace(b"ListPartsResponse", b"ListPartsResult  ")
            for piece in self._inner(environ, answer)
        ]

    def _check(self, environ: Environ, headers: dict[str, str], body: bytes) -> None:
        if "authorization" not in headers and body.startswith(b"Action=AssumeRoleWithWebIdentity&"):
            return
        if check_signature(environ, headers, body) != "s3":
            return
        payload = headers["x-amz-content-sha256"]
        if payload == "UNSIGNED-PAYLOAD":
            if environ["wsgi.url_scheme"] != "https":
                raise Refusal("403 Forbidden", "AccessDenied")
        elif not payload.startswith("STREAMING") and payload != hashlib.sha256(body).hexdigest():
            raise Refusal("400 Bad Request", "XAmzContentSHA256Mismatch")
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        crc = base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()
        sent_crc = crc if "/nocrc-" in target(environ) else headers.get(CRC, crc)
        if headers.get("content-md5", md5) != md5 or sent_crc != crc:
            raise Refusal("400 Bad Request", "BadDigest")
        check_conditions(environ, headers)


def of_whole_key(environ: Environ, page: bytes) -> bytes:
    """The listing without uploads of other keys than the prefix, as long as it was."""
    prefix = parse_qs(environ["QUERY_STRING"]).get("prefix", [""])[0]
    kept = re.sub(
        rb"<Upload>.*?<Key>(.*?)</Key>.*?</Upload>",
        lambda found: found[0] if unescape(found[1].decode()) == prefix else b"",
        page,
        flags=re.DOTALL,
    )
    return kept + b" " * (len(page) - len(kept))


def target(environ: Environ) -> str:
    """Path and query as they were sent."""
    return environ["RAW_URI"]


def check_signature(environ: Environ, headers: dict[str, str], body: bytes) -> str:
    """The service that the request is signed for."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/(s3|iam|sts)/aws4_request, ?SignedHeaders=(\S+), ?"
        r"Signature=(\w+)",
        headers.get("authorization", ""),
    )
    secret = secret_of(found[1]) if found is not None else None
    if found is None or secret is None:
        raise Refusal("403 Forbidden", "InvalidAccessKeyId")
    signed = found[5].split(";")
    if "host" not in signed or any(key.startswith("x-amz-") and key not in signed for key in headers):
        raise Refusal("403 Forbidden", "AccessDenied")
    request = AWSRequest(environ["REQUEST_METHOD"], f"http://{headers['host']}{target(environ)}", data=body)
    for name in signed:
        request.headers[name] = headers[name]
    request.context["timestamp"] = headers["x-amz-date"]
    kind = S3SigV4Auth if found[4] == "s3" else SigV4Auth
    auth = kind(Credentials(found[1], secret), found[4], found[3])
    text = auth.string_to_sign(request, auth.canonical_request(request))
    if auth.signature(text, request) != found[6]:
        raise Refusal("403 Forbidden", "SignatureDoesNotMatch")
    return found[4]


def secret_of(identity: str) -> str | None:
    """The secret of a living key."""
    if identity == IDENTITY:
        return SECRET
    for user in list(iam_backends[ACCOUNT]["aws"].users.values()):
        for key in user.access_keys:
            if key.access_key_id == identity and key.status == "Active":
                return str(key.secret_access_key)
    return None


asked = threading.local()
"""What conditions of policies are about: the query of the request that this thread answers."""


def holds(statement: IAMPolicyStatement, _incoming: Any = None) -> bool:
    """Whether the conditions of a statement hold; one that is not known does not."""
    for operator, wanted in statement._statement.get("Condition", {}).items():
        for name, value in wanted.items():
            if (operator, name) == ("DateLessThan", "aws:CurrentTime"):
                well = datetime.now(UTC) < datetime.fromisoformat(value)
            elif (operator, name) == ("StringLike", "s3:prefix"):
                well = fnmatchcase(asked.query.get("prefix", [""])[0], value)
            else:
                well = False
            if not well:
                return False
    return True


def keep_to_policies() -> None:
    """Moto decides by policies of users, but does not know the conditions in them; the first key needs none."""
    plain = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def decide(self: Any, kind: type, resource: str = "*") -> None:
        told = self.headers.get("Authorization", "")
        if f"Credential={IDENTITY}/" not in told and told:
            plain(self, kind, resource)

    ActionAuthenticatorMixin._authenticate_and_authorize_action = decide  # type: ignore[method-assign,assignment]
    IAMPolicyStatement._check_conditions = holds  # type: ignore[method-assign,assignment]


def check_conditions(environ: Environ, headers: dict[str, str]) -> None:
    path, _, query = target(environ).partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys()
    writes = environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE")
    if conditions and writes and bucket.startswith("refuses-"):
        raise Refusal("501 Not Implemented", "NotImplemented")
    if conditions and writes and bucket.startswith("overlooks-"):
        for name in conditions:
            del environ[name]
        return
    wanted = None
    backend = s3_backends[ACCOUNT]["aws"]
    upload = parse_qs(query).get("uploadId", [""])[0]
    if upload and environ["REQUEST_METHOD"] == "PUT" and upload not in backend.list_multipart_uploads(bucket):
        raise Refusal("404 Not Found", "NoSuchUpload")
    if upload and environ["REQUEST_METHOD"] == "POST":
        wanted = headers.get("if-match")
    if "x-amz-copy-source" in headers:
        wanted = headers.get("x-amz-copy-source-if-match")
    if wanted is not None:
        there = backend.get_object(bucket, key)
        if there is None or there.etag.strip('"') != wanted.strip('"'):
            raise Refusal("412 Precondition Failed", "PreconditionFailed")


def error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()


def take_all_names() -> None:
    """Moto finds nothing at a path with a line break in it: its patterns end there."""
    plain = RegexConverter.__init__

    def init(self: RegexConverter, url_map: Any, *items: str) -> None:
        plain(self, url_map, *items)
        self.regex = f"(?s:{self.regex})"

    RegexConverter.__init__ = init  # type: ignore[method-assign]


def main() -> None:
    take_all_names()
    keep_to_policies()
    context = (sys.argv[3], sys.argv[4]) if len(sys.argv) > 4 else None
    server = make_server(
        "127.0.0.1", 0, Gate(DomainDispatcherApplication(create_backend_app)), threaded=True,
        request_handler=Handler, ssl_context=context,
    )  # fmt: skip
    print(
        f"successfully listens on {'http' if context is None else 'https'}://127.0.0.1:{server.server_port}",
        flush=True,
    )
    server.serve_forever()


if __name__ == "__main__":
    main()
