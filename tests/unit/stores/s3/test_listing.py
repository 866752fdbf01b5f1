"""The service's XML: what it holds, in the documents' own shapes, and what is refused."""

from __future__ import annotations

import pytest

from wherry.model.errors import StoreError
from wherry.stores.s3 import listing
from wherry.stores.s3.listing import Listed, Part

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
PAGE = f"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult {NAMESPACE}>
  <Name>bucket</Name><Prefix>a+b/</Prefix><KeyCount>3</KeyCount><MaxKeys>3</MaxKeys>
  <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>1/w==</NextContinuationToken>
  <Contents><Key>a+b/%01%2B%25%2Fx+y</Key><LastModified>2009-10-12T17:50:30.500Z</LastModified>
    <ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>434234</Size>
    <StorageClass>STANDARD</StorageClass></Contents>
  <CommonPrefixes><Prefix>a+b/%C3%A9/</Prefix></CommonPrefixes>
</ListBucketResult>""".encode()


def test_a_page_is_read() -> None:
    found = listing.page(PAGE)

    assert found.objects == [
        Listed(b"a b/\x01+%/x y", 434234, 1255369830, "fba9dede5f27731c9771645a39863328")
    ]
    assert found.prefixes == ["a b/\u00e9/".encode()]
    assert found.token == "1/w=="


def test_keys_that_nobody_encoded_are_taken_as_they_are() -> None:
    plain = PAGE.replace(b"<EncodingType>url</EncodingType>", b"")

    assert listing.page(plain).objects[0].key == b"a+b/%01%2B%25%2Fx+y"


def test_the_last_page_has_no_token() -> None:
    last = PAGE.replace(b"<IsTruncated>true<", b"<IsTruncated>false<")

    assert listing.page(last).token == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ListBucketResult", b"ListOfSomethingElse"),
        (b"<Size>434234</Size>", b""),
        (b"434234", b"-1"),
        (b"<Key>", b"<Name>"),
        (b"<NextContinuationToken>1/w==</NextContinuationToken>", b""),
        (b'<?xml version="1.0" encoding="UTF-8"?>', b'<!DOCTYPE a [<!ENTITY x "y">]>'),
    ],
)
def test_pages_that_are_none(old: bytes, new: bytes) -> None:
    with pytest.raises(StoreError):
        listing.page(PAGE.replace(old, new))


def test_open_uploads_are_read() -> None:
    document = f"""<ListMultipartUploadsResult {NAMESPACE}><Bucket>bucket</Bucket><KeyMarker/><UploadIdMarker/>
      <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>
      <Upload><Key>my+movie.m2ts</Key><UploadId>YW55IGlkZWEgd2h5</UploadId><Initiated>2010-11-10T20:48:33.000Z</Initiated>
      </Upload><Upload><Key>no-id</Key></Upload></ListMultipartUploadsResult>"""

    assert listing.uploads(document.encode()) == [(b"my movie.m2ts", "YW55IGlkZWEgd2h5")]


def test_parts_are_read() -> None:
    document = f"""<ListPartsResult {NAMESPACE}><PartNumberMarker>1</PartNumberMarker>
      <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>
      <Part><PartNumber>2</PartNumber><ETag>"7778aef83f66abc1fa1e8477f296d394"</ETag><Size>10485760</Size></Part>
      <Part><PartNumber>3</PartNumber><ETag>"aaaa18db4cc2f85cedef654fccc4a4x8"</ETag><Size>5</Size></Part>
      </ListPartsResult>"""

    found, following = listing.parts(document.encode())

    assert found == {
        2: Part("7778aef83f66abc1fa1e8477f296d394", 10485760),
        3: Part("aaaa18db4cc2f85cedef654fccc4a4x8", 5),
    }
    assert following == 3
    assert listing.parts(document.replace(">true<", ">false<").encode())[1] == 0


def test_an_upload_needs_an_id() -> None:
    document = f"<InitiateMultipartUploadResult {NAMESPACE}><UploadId>{{}}</UploadId></InitiateMultipartUploadResult>"

    assert listing.upload_id(document.format("id-1").encode()) == "id-1"
    with pytest.raises(StoreError):
        listing.upload_id(document.format("").encode())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2009-10-12T17:50:30.000Z", 1255369830), ("2009-10-12T17:50:30Z", 1255369830),
        ("2009-10-12T17:50:30.999999Z", 1255369830), ("yesterday", 0), ("", 0),
    ],
)  # fmt: skip
def test_times(text: str, seconds: int) -> None:
    assert listing.moment(text) == seconds
