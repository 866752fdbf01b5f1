"""An exported trail proves itself: whatever is done to the file is found, and where."""

from __future__ import annotations

import json

import pytest

from wherry.trust import authority, chain, transcript
from wherry.trust.chain import FIRST, Checkpoint
from wherry.trust.keys import PrivateKey
from wherry.trust.signed import Untrusted

NOW = 1_800_000_000.0


class Deployment:
    """An authority, a key that it certified, and six records."""

    def __init__(self) -> None:
        self.ca = authority.create_ca("test", NOW)
        self.signer = authority.issue_signer(self.ca, transcript.SIGNER, NOW)
        self.kid = authority.fingerprint(self.signer.certificate)
        self.texts = [json.dumps({"action": f"a{number}", "at": NOW + number}) for number in range(1, 7)]

    def checkpoint(self, seq: int, hash_: str, trail: str = "t") -> str:
        key = PrivateKey.from_pem(self.signer.key)
        return Checkpoint(trail, 1, seq, hash_, NOW).sign(key, self.kid)

    def file(self, texts: list[str] | None = None, left_out: tuple[int, ...] = ()) -> list[str]:
        previous, lines = FIRST, [transcript.head("t", 1, FIRST, [self.signer.certificate.decode()])]
        for seq, text in enumerate(texts or self.texts, 1):
            previous = chain.link(seq, previous, chain.digest_of(text))
            form = transcript.omitted if seq in left_out else transcript.line
            lines.append(form(seq, previous, text))
        lines.append(transcript.end(self.checkpoint(len(lines) - 1, previous)))
        return [line + "\n" for line in lines]


@pytest.fixture(scope="module")
def here() -> Deployment:
    return Deployment()


def test_what_was_exported_is_whole(here):
    verdict = transcript.verify(here.file(), here.ca.certificate)
    assert verdict.whole
    assert (verdict.first, verdict.last, verdict.records, verdict.omitted, verdict.signed_to) == (
        1,
        6,
        6,
        0,
        6,
    )
    assert [one["action"] for one in transcript.entries(here.file())] == ["a1", "a2", "a3", "a4", "a5", "a6"]


def test_the_rest_can_be_verified_without_what_was_left_out(here):
    lines = here.file(left_out=(2, 3, 6))
    verdict = transcript.verify(lines, here.ca.certificate)
    assert verdict.whole
    assert (verdict.records, verdict.omitted) == (3, 3)
    lines[4] = lines[4].replace("a4", "a5")
    assert transcript.verify(lines, here.ca.certificate).troubles == [
        "Record 4 was changed, or its tie to the one before."
    ]


def changed(lines):
    lines[3] = lines[3].replace("a3", "b3")


def removed(lines):
    del lines[3:5]


def swapped(lines):
    lines[3], lines[4] = lines[4], lines[3]


def repeated(lines):
    lines.insert(4, lines[2])


def cut_off(lines):
    del lines[5:]


def cut_before_the_signature(lines):
    del lines[5:7]


def cut_at_the_beginning(lines):
    del lines[1]


def not_a_record(lines):
    lines.insert(2, '{"seq": 2, "anything": true}\n')


def an_earlier_end(lines):
    del lines[-1]


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (changed, "Record 3 was changed, or its tie to the one before."),
        (removed, "Records 3 to 4 are missing."),
        (swapped, "Record 3 is missing."),
        (repeated, "Record 2 stands behind record 3: out of order, or put in."),
        (cut_off, "The last line, which is a signature of all before, is missing or does not fit."),
        (cut_before_the_signature, "Line 6 is a checkpoint of record 6, and stands behind 4."),
        (cut_at_the_beginning, "Record 1 is missing."),
        (not_a_record, "Line 3 is no record, and no checkpoint of this deployment."),
        (an_earlier_end, "The last line, which is a signature of all before, is missing or does not fit."),
    ],
)
def test_attack_69_what_is_done_to_a_file_is_found_and_named(here, tamper, told):
    lines = here.file()
    tamper(lines)
    verdict = transcript.verify(lines, here.ca.certificate)
    assert not verdict.whole
    assert told in verdict.troubles


def test_attack_69_a_chain_that_was_made_to_fit_has_no_signature(here):
    forged = here.file([text.replace("a3", "b3") for text in here.texts])
    forged[-1] = here.file()[-1]
    (trouble,) = transcript.verify(forged, here.ca.certificate).troubles
    assert "Records 1 to 6 are not what was signed" in trouble


def test_attack_69_a_signature_of_another_authority_or_of_a_server_counts_for_nothing(here):
    other = Deployment()
    with pytest.raises(Untrusted, match="signed by somebody else"):
        transcript.verify(other.file(), here.ca.certificate)
    server = authority.issue_server(here.ca, [transcript.SIGNER.replace(" ", "-")], NOW)
    lines = here.file()
    lines[0] = transcript.head("t", 1, FIRST, [server.certificate.decode()])
    with pytest.raises(Untrusted, match="not for Wherry audit trail"):
        transcript.verify(lines, here.ca.certificate)
    lines = here.file()
    lines[-1] = transcript.end(here.checkpoint(6, json.loads(lines[-2])["hash"], trail="another"))
    assert (
        "Line 8 is a checkpoint of another deployment."
        in transcript.verify(lines, here.ca.certificate).troubles
    )


def test_a_later_file_goes_on_from_an_earlier_one(here):
    early = transcript.last_checkpoint(here.file(here.texts[:4]), here.ca.certificate)
    assert early.seq == 4
    assert transcript.verify(here.file(), here.ca.certificate, early).whole
    rewritten = here.file([text.replace("a2", "b2") for text in here.texts])
    (trouble,) = transcript.verify(rewritten, here.ca.certificate, early).troubles
    assert trouble.startswith("Records 1 to 4 are not what was signed")
    shorter = here.file(here.texts[:3])
    assert transcript.verify(shorter, here.ca.certificate, early).troubles == [
        "Record 4 is missing: the end is cut off."
    ]


@pytest.mark.parametrize(
    "first",
    ["", "{}", "[]", "no json", '{"wherry": "audit trail", "format": 2, "first": 1, "certificates": []}'],
)
def test_what_is_no_trail_is_refused(here, first):
    with pytest.raises(Untrusted, match="no exported audit trail"):
        transcript.verify([first], here.ca.certificate)
