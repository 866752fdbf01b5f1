"""Which addresses a storage account may be registered with."""

from __future__ import annotations

import pytest

from wherry.control.services.types.addresses import service_url
from wherry.model.errors import ApiError


@pytest.mark.parametrize(
    "url",
    ["https://a.blob.example.net", "https://10.1.2.3:10000/account", "https://[fd12::7]", "http://127.0.0.1:10000/a",
     "http://[::1]:10000", "http://localhost:10000/devstoreaccount1/", "https://my_blob/a.b/c"],
)  # fmt: skip
def test_addresses_of_storage_are_kept(url: str) -> None:
    assert service_url(url, "t") == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        # The library that sends requests decodes these after any check.
        "https://169.254.169.25%34", "https://%31%36%39.254.169.254", "https://a.example/%2e%2e/b", "https://[fe80::1%25lo]",
        "https://169.254.169.254.", "https://[::169.254.169.254]", "https://[64:ff9b::a9fe:a9fe]",
        "https://[2002:a9fe:a9fe::]", "https://[fd00:ec2::254]", "https://100.100.100.200", "https://168.63.129.16",
        "https://a.example/x?", "https://a.example/x#", "https://a.example/../x", "https://a.example/./x",
        "https://a.example//x", "http://[2002:7f00:1::]", "http://[64:ff9b::7f00:1]",
        "https://169.254.169.254", "https://2852039166", "https://0xa9fea9fe", "https://0251.0376.0251.0376",
        "https://169.254.43518", "https://[::ffff:169.254.169.254]", "https://[::ffff:a9fe:a9fe]", "https://0.0.0.0",
        "https://[::]", "https://[fe80::1]", "https://224.0.0.1", "file:///etc/passwd", "gopher://127.0.0.1:70/x",
        "ftp://127.0.0.1/x", "http://10.0.0.1", "//127.0.0.1", "https:127.0.0.1", "https://a.example@169.254.169.254",
    ],
)  # fmt: skip
def test_attack_60_addresses_where_secrets_are_told_are_refused_in_any_disguise(url: str) -> None:
    with pytest.raises(ApiError) as refused:
        service_url(url, "t")
    assert refused.value.status == 400
