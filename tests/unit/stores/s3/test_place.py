"""Where a bucket is: styles, prefixes, regions, and what is refused."""

from __future__ import annotations

import pytest

from wherry.model.errors import UsageError
from wherry.stores.s3.place import Place

PARIS = "s3.eu-west-3.amazonaws.com"
NOT_AMAZON = "s3.amazonaws.com.example.test"


@pytest.mark.parametrize(
    ("url", "subpath", "netloc", "path", "bucket", "prefix"),
    [
        ("https://minio.example:9000/bucket", b"", "minio.example:9000", "/bucket", "bucket", b""),
        ("https://ceph.example/Bucket_1/a%20b/c/", b"d", "ceph.example", "/Bucket_1", "Bucket_1", b"a b/c/d/"),
        ("http://127.0.0.1:5/b-1", b"deep/er", "127.0.0.1:5", "/b-1", "b-1", b"deep/er/"),
        ("https://s3.amazonaws.com/bucket/x", b"", "bucket.s3.amazonaws.com", "", "bucket", b"x/"),
        (f"https://{PARIS}/bucket", b"", f"bucket.{PARIS}", "", "bucket", b""),
        (f"https://{PARIS}/with.dots", b"", PARIS, "/with.dots", "with.dots", b""),
        (f"https://bucket.{PARIS}/x/y", b"", f"bucket.{PARIS}", "", "bucket", b"x/y/"),
        (f"https://{NOT_AMAZON}/bucket", b"", NOT_AMAZON, "/bucket", "bucket", b""),
    ],
)  # fmt: skip
def test_places(url: str, subpath: bytes, netloc: str, path: str, bucket: str, prefix: bytes) -> None:
    place = Place.parse(url, subpath, "")

    assert (place.address.netloc, place.address.path) == (netloc, path)
    assert (place.bucket, place.prefix) == (bucket, prefix)


@pytest.mark.parametrize(
    ("url", "region", "meant"),
    [
        ("https://minio.example/bucket", "", "us-east-1"),
        ("https://minio.example/bucket", "garage", "garage"),
        ("https://s3.amazonaws.com/bucket", "", "us-east-1"),
        ("https://s3.eu-west-3.amazonaws.com/bucket", "", "eu-west-3"),
        ("https://s3.dualstack.eu-west-3.amazonaws.com/bucket", "", "eu-west-3"),
        ("https://bucket.s3.cn-north-1.amazonaws.com.cn/", "", "cn-north-1"),
        ("https://s3.eu-west-3.amazonaws.com/bucket", "us-west-2", "eu-west-3"),
        ("https://s3.amazonaws.com/bucket", "us-west-2", "us-west-2"),
    ],
)
def test_regions(url: str, region: str, meant: str) -> None:
    assert Place.parse(url, b"", region).region == meant


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://minio.example", ""), ("https://minio.example/", ""), ("https://minio.example/a", ""),
        ("https://minio.example/%ff%fe%fd", ""), ("https://minio.example/b%0ad", ""),
        ("http://minio.example/bucket", ""),
        ("https://minio.example/bucket?x=1", ""), ("https://minio.example/bucket", "eu/west"),
        ("s3://bucket/x", ""),
    ],
)  # fmt: skip
def test_what_is_no_place(url: str, region: str) -> None:
    with pytest.raises(UsageError):
        Place.parse(url, b"", region)
