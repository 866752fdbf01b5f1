"""Signatures, with the vendor's own signer as judge."""

from __future__ import annotations

import hashlib
from urllib.parse import quote, quote_from_bytes

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import Denied, Unsafe
from wherry.stores.s3.signature import UNSIGNED, Signer

IDENTITY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOON = 1_440_938_160.0

words = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
keys = st.binary(min_size=1, max_size=40).map(lambda key: key.lstrip(b"/") or b"k")
queries = st.dictionaries(st.sampled_from(["prefix", "uploadId", "partNumber", "list-type", "a"]), words)
metadata = st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), words, max_size=5)


def parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    assert version == "HTTP/1.1"
    pairs = [line.partition(":") for line in lines]
    return method, target, {name.lower(): value.strip() for name, _, value in pairs}


def expected(method: str, target: str, sent: dict[str, str], signed: list[str], region: str) -> str:
    """The signature as the judge has it, from what went out."""
    request = AWSRequest(method, f"https://{sent['host']}{target}")
    for name in signed:
        request.headers[name] = sent[name]
    request.context["timestamp"] = sent["x-amz-date"]
    auth = S3SigV4Auth(Credentials(IDENTITY, SECRET), "s3", region)
    signature: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return signature


@given(
    keys, queries, metadata, st.sampled_from(["", "a/session+token=="]), st.binary(max_size=50), st.booleans()
)
def test_the_judge_signs_alike(
    key: bytes, query: dict[str, str], found: dict[str, str], token: str, body: bytes, secure: bool
) -> None:
    signer = Signer(IDENTITY, SECRET, token, "eu-west-3", lambda: NOON)
    encoded = "&".join(f"{name}={quote(query[name], safe='')}" for name in sorted(query))
    payload = UNSIGNED if secure else hashlib.sha256(body).hexdigest()
    headers = {
        "host": "bucket.example:9000",
        **{f"x-amz-meta-{name}": value for name, value in found.items()},
    }

    head = signer.head(
        "PUT", "/bucket/" + quote_from_bytes(key, safe="/~"), encoded, headers, payload, len(body)
    )

    method, target, sent = parsed(head)
    fields = dict(part.split("=", 1) for part in sent["authorization"].split(" ", 1)[1].split(","))
    assert fields["Credential"] == f"{IDENTITY}/20150830/eu-west-3/s3/aws4_request"
    signed = fields["SignedHeaders"].split(";")
    assert set(signed) == set(sent) - {"authorization", "content-length"}
    assert fields["Signature"] == expected(method, target, sent, signed, "eu-west-3")
    assert SECRET.encode() not in head
    assert sent["content-length"] == str(len(body))
    for name, value in found.items():
        assert sent[f"x-amz-meta-{name}"] == " ".join(value.split())


def test_the_key_changes_with_the_day_and_not_before() -> None:
    now = [NOON]
    signer = Signer(IDENTITY, SECRET, "", "us-east-1", lambda: now[0])

    def sign() -> tuple[str, str]:
        method, target, sent = parsed(signer.head("GET", "/b", "", {"host": "h"}, UNSIGNED))
        signature = sent["authorization"].rpartition("=")[2]
        signed = ["host", "x-amz-content-sha256", "x-amz-date"]
        assert signature == expected(method, target, sent, signed, "us-east-1")
        return sent["x-amz-date"], signature

    first = sign()
    assert sign() == first
    now[0] += 1
    assert sign() != first
    now[0] += 86_400
    assert sign()[0] == "20150831T123601Z"


@pytest.mark.parametrize("value", ["a\r\nEvil: 1", "a\nb", "tab\there", "\u00e9", "nul\0"])
def test_a_value_that_no_header_can_carry_never_gets_there(value: str) -> None:
    signer = Signer(IDENTITY, SECRET, "", "us-east-1")

    with pytest.raises(Unsafe):
        signer.head("PUT", "/b/k", "", {"host": "h", "x-amz-meta-a": value}, UNSIGNED, 0)


@pytest.mark.parametrize(
    ("identity", "secret", "token"),
    [
        ("", SECRET, ""),
        (IDENTITY, "", ""),
        (IDENTITY, "with\nbreak", ""),
        ("\u00e9", SECRET, ""),
        (IDENTITY, SECRET, "a\r"),
    ],
)
def test_keys_that_are_none_are_refused_and_not_told(identity: str, secret: str, token: str) -> None:
    with pytest.raises(Denied) as trouble:
        Signer(identity, secret, token, "us-east-1")

    assert not secret or secret not in str(trouble.value)
