"""What SRC and DST mean, and that no secret is in a text."""

from __future__ import annotations

import pytest

from wherry.cli.copy_places import check_apart, place, told
from wherry.model.errors import RunError, UsageError

SAS = {"WHERRY_BLOB_SAS": "?si=x&sig=hush-hush"}
KEY = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "hush-hush"}


def test_folders_are_whole_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")

    assert place("data/../other", {}).location == "/tmp/other"
    assert place("./blob:x", {}).kind == "posix"


@pytest.mark.parametrize(
    ("url", "location", "subpath"),
    [
        ("https://acc.blob.core.windows.net/con", "https://acc.blob.core.windows.net/con", b""),
        ("https://acc.blob.core.windows.net/con/", "https://acc.blob.core.windows.net/con", b""),
        ("https://acc.blob.core.windows.net/con/a/b%20c", "https://acc.blob.core.windows.net/con", b"a/b c"),
        ("http://127.0.0.1:10000/acc/con/a", "http://127.0.0.1:10000/acc/con", b"a"),
        ("http://[::1]:10000/acc/con", "http://[::1]:10000/acc/con", b""),
        ("http://azurite:10000/acc/con/a/", "http://azurite:10000/acc/con", b"a"),
    ],
)
def test_containers_and_what_is_in_them(url: str, location: str, subpath: bytes) -> None:
    spec = place(f"blob:{url}", SAS | {"WHERRY_BLOB_CA_FILE": "ca.pem"})

    assert (spec.kind, spec.location, spec.subpath, spec.ca_file) == ("blob", location, subpath, "ca.pem")
    assert spec.secret == "si=x&sig=hush-hush"
    assert "hush" not in repr(spec) + told(spec)


def test_a_signature_belongs_into_the_environment() -> None:
    with pytest.raises(UsageError, match="WHERRY_BLOB_SAS") as refused:
        place("blob:https://host/container?sig=hush-hush", SAS)
    assert "hush" not in str(refused.value)
    with pytest.raises(UsageError, match="not set"):
        place("blob:https://host/container", {})


@pytest.mark.parametrize(
    ("text", "environ", "location", "subpath", "region"),
    [
        ("bucket", {}, "https://s3.us-east-1.amazonaws.com/bucket", b"", ""),
        ("bucket/a/b", {"AWS_REGION": "eu-1"}, "https://s3.eu-1.amazonaws.com/bucket", b"a/b", "eu-1"),
        ("bucket/a", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/bucket", b"a", ""),
        ("https://minio.example:9000/bucket/a/", {}, "https://minio.example:9000/bucket", b"a", ""),
        (
            "https://h/b",
            {"AWS_ENDPOINT_URL": "https://other", "AWS_DEFAULT_REGION": "r"},
            "https://h/b",
            b"",
            "r",
        ),
    ],
)
def test_buckets(text: str, environ: dict[str, str], location: str, subpath: bytes, region: str) -> None:
    spec = place(f"s3:{text}", KEY | environ | {"AWS_CA_BUNDLE": "ca.pem"})

    assert (spec.kind, spec.location, spec.subpath, spec.region) == ("s3", location, subpath, region)
    assert (spec.identity, spec.secret, spec.ca_file) == ("AKIA", "hush-hush", "ca.pem")
    assert "hush" not in repr(spec) + told(spec)


def test_the_token_of_a_session_goes_with_its_key() -> None:
    assert place("s3:bucket", KEY | {"AWS_SESSION_TOKEN": "token"}).secret == "hush-hush\ntoken"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3:", "is no place"),
        ("s3:https://host", "is no place"),
        ("s3:https://host/b?x=1", "is no place"),
        ("s3:https://me:pw@host/b", "Leave name and password out"),
        ("blob:https://acc.example/", "is no place"),
        ("blob:container", "is no place"),
        ("https://acc.example/con", "blob:https:"),
        ("s3:b/a/../c", "not allowed"),
    ],
)
def test_what_is_no_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        place(text, SAS | KEY)
    assert "pw@" not in str(refused.value)


def test_the_key_is_asked_for_by_name() -> None:
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY not set"):
        place("s3:bucket", {"AWS_ACCESS_KEY_ID": "x"})


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("s3:b", "s3:b", False), ("s3:b/a", "s3:b", False), ("s3:b/a", "s3:b/ab", True), ("s3:b", "s3:c", True),
        ("blob:https://h.x/c", "blob:https://h.x/C/", False), ("blob:https://h.x/c/a", "blob:https://h.x/c/b", True),
        ("blob:https://h.x/c", "s3:c", True),
    ],
)  # fmt: skip
def test_places_that_contain_one_another(one: str, other: str, apart: bool) -> None:
    places = place(one, SAS | KEY), place(other, SAS | KEY)
    if apart:
        check_apart(*places)
    else:
        with pytest.raises(RunError, match="contain one another"):
            check_apart(*places)
