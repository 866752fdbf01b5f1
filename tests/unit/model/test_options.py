"""Options: one table, one way in, errors that name what is wrong."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model.errors import UsageError
from wherry.model.options import (
    DELETE_FLOOR,
    TABLE,
    Compare,
    CopyMode,
    JobOptions,
    Links,
    Preserve,
    Verify,
    word_of,
)

PATTERNS = st.lists(st.from_regex(r"[a-zäö*?. ]{1,6}", fullmatch=True), max_size=3).map(tuple)
COUNT = st.none() | st.integers(0, 10**9)
POSITIVE = st.none() | st.integers(1, 10**12)
VERIFIED = st.sampled_from([one for one in Verify if one is not Verify.SAMPLE]).map(lambda one: (one, 0))
SAMPLED = st.integers(1, 100).map(lambda share: (Verify.SAMPLE, share))
# Within the years that ISO 8601 has.
MOMENT = st.integers(-60_000_000_000 * 10**9, 250_000_000_000 * 10**9)
ACL_NEEDS = {Preserve.TIMES, Preserve.MODE}


@st.composite
def _options(draw: st.DrawFn) -> JobOptions:
    verify, sample = draw(VERIFIED | SAMPLED)
    more = draw(st.sets(st.sampled_from(Preserve)))
    sizes = [draw(COUNT), draw(COUNT)]
    if None not in sizes:
        sizes.sort(key=lambda one: one or 0)
    return JobOptions(
        mode=draw(st.sampled_from(CopyMode)),
        include=draw(PATTERNS),
        exclude=draw(PATTERNS),
        ignore_case=draw(st.booleans()),
        min_size=sizes[0],
        max_size=sizes[1],
        newer_than=draw(MOMENT | st.none() | st.just("7d")),
        older_than=draw(st.none() | st.just("36h")),
        compare=draw(st.sampled_from(Compare)),
        verify=verify,
        sample=sample,
        links=draw(st.sampled_from(Links)),
        preserve=tuple(one for one in Preserve if one in ACL_NEEDS | more),
        bandwidth=draw(POSITIVE),
        requests_per_second=draw(POSITIVE),
        max_delete=draw(COUNT),
        allow_empty_source=draw(st.booleans()),
        accept_new_source=draw(st.booleans()),
        dry_run=draw(st.booleans()),
    )


OPTIONS = _options()


@given(OPTIONS)
def test_options_survive_the_api(options: JobOptions) -> None:
    assert JobOptions.from_json(options.to_json()) == options


def test_defaults_are_not_told() -> None:
    assert JobOptions().to_json() == {}
    assert JobOptions(max_delete=0, dry_run=True).to_json() == {"maxDelete": 0, "dryRun": True}


def test_the_table_has_every_option() -> None:
    assert set(TABLE) == {one.name for one in fields(JobOptions)} - {"sample"}


def test_words_are_read_without_case() -> None:
    assert JobOptions.from_json({"mode": "mirror", "compare": "SIZE"}) == JobOptions(
        mode=CopyMode.MIRROR, compare=Compare.SIZE
    )


def test_quantities_are_read_as_people_write_them() -> None:
    told = {
        "minSize": "1K", "maxSize": 2**20, "bandwidth": "8Mbps", "newerThan": "1970-01-02", "compare": "mtime",
        "verify": "Sample=5%", "preserve": ["times", "MODE"],
    }  # fmt: skip

    assert JobOptions.from_json(told) == JobOptions(
        min_size=1024, max_size=2**20, bandwidth=1_000_000, newer_than=86400 * 10**9, verify=Verify.SAMPLE,
        sample=5, preserve=(Preserve.MODE, Preserve.TIMES),
    )  # fmt: skip


def test_ages_become_moments_when_the_run_starts() -> None:
    options = JobOptions.from_json({"newerThan": "7d", "olderThan": "1h"})
    assert options.to_json() == {"newerThan": "7d", "olderThan": "1h"}

    started = options.at(10 * 86400 * 10**9)

    assert (started.newer_than, started.older_than) == (3 * 86400 * 10**9, (10 * 86400 - 3600) * 10**9)
    assert started.at(1) is started


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ({"preserve": ["mode", "owner"]}, "add times to preserve, or compare by size"),
        ({"preserve": ["times", "acls"]}, "add mode to preserve"),
        ({"minSize": 2, "maxSize": 1}, "exchange"),
        ({"newerThan": "2026-01-02", "olderThan": "2026-01-01"}, "exchange"),
        ({"newerThan": "7d", "olderThan": "30d"}, "exchange"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_do(data: Any, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        JobOptions.from_json(data)


def test_a_sample_is_a_share() -> None:
    for verify, sample in ((Verify.SAMPLE, 0), (Verify.SAMPLE, 101), (Verify.SOURCE, 5)):
        with pytest.raises(UsageError, match="sample=N%"):
            JobOptions(verify=verify, sample=sample)


def test_times_need_not_be_kept_when_nothing_compares_them() -> None:
    assert JobOptions(compare=Compare.SIZE, preserve=()).to_json() == {"compare": "size", "preserve": []}


def test_names_of_the_api() -> None:
    assert word_of("requests_per_second") == "requestsPerSecond"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"colour": "red"}, "colour"),
        ({"max_delete": 1}, "max_delete"),
        ({"mode": "Sideways"}, "Additive, Mirror"),
        ({"mode": 1}, "mode"),
        ({"verify": None}, "verify"),
        ({"include": "*.txt"}, "include"),
        ({"exclude": [""]}, "exclude"),
        ({"exclude": [1]}, "exclude"),
        ({"maxDelete": -1}, "maxDelete"),
        ({"maxDelete": True}, "maxDelete"),
        ({"maxDelete": "5"}, "maxDelete"),
        ({"dryRun": "yes"}, "dryRun"),
        ({"dryRun": 1}, "dryRun"),
        ({"verify": "sample"}, "sample=N%"),
        ({"verify": "sample=0%"}, "sample=N%"),
        ({"verify": "sample=101"}, "sample=N%"),
        ({"verify": "source=5%"}, "sample=N%"),
        ({"sample": 5}, "sample"),
        ({"preserve": "mode"}, "preserve"),
        ({"preserve": ["colour"]}, "xattrs"),
        ({"minSize": "large"}, "minSize.*20MiB"),
        ({"maxSize": -1}, "maxSize"),
        ({"bandwidth": 0}, "bandwidth.*400Mbps"),
        ({"bandwidth": "0"}, "bandwidth"),
        ({"requestsPerSecond": 0}, "requestsPerSecond.*1 or more"),
        ({"newerThan": 5}, "newerThan.*7d"),
        ({"olderThan": "soon"}, "olderThan.*7d"),
        ([], "object"),
        ("mode", "object"),
        (None, "object"),
    ],
)
def test_what_is_wrong_is_named(data: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        JobOptions.from_json(data)


@pytest.mark.parametrize(
    ("options", "scanned", "allowed"),
    [
        (JobOptions(), 0, DELETE_FLOOR),
        (JobOptions(), 10_000, 2000),
        (JobOptions(max_delete=3), 10_000, 3),
        (JobOptions(max_delete=0), 10_000, 0),
    ],
)
def test_how_much_may_be_deleted(options: JobOptions, scanned: int, allowed: int) -> None:
    assert options.allowed_deletes(scanned) == allowed
