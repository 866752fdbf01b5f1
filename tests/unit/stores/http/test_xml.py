"""XML of somebody else: plain elements are read, whatever attacks its reader is refused."""

from __future__ import annotations

import pytest

from wherry.model.errors import StoreError
from wherry.stores.http.xml import parse


def test_plain_elements_are_read() -> None:
    root = parse(b'<?xml version="1.0" encoding="utf-8"?><a><b> x &amp; y </b><b/></a>')

    assert [one.text for one in root.iterfind("b")] == [" x & y ", None]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<a><b></a>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd">%x;]><a/>',
        b'<!DOCTYPE a [<!ENTITY x "yyyyyyyyyy"><!ENTITY z "&x;&x;&x;&x;">]><a>&z;&z;&z;&z;</a>',
    ],
)
def test_attack_66_xml_that_attacks_its_reader_is_refused(document: bytes) -> None:
    with pytest.raises(StoreError):
        parse(document)
