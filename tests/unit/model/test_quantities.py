"""Sizes, rates and moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.model import quantities

BILLION = 10**9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("17", 17), ("1k", 1024), ("1K", 1024), ("1KiB", 1024), ("1KB", 1000), ("1.5G", 3 * 2**29),
        (" 20 MiB ", 20 * 2**20), ("5TB", 5 * 10**12), ("2P", 2**51), ("0.1K", 102), ("7B", 7),
    ],
)  # fmt: skip
def test_sizes(text: str, value: int) -> None:
    assert quantities.size(text) == value


@pytest.mark.parametrize("text", ["", "K", "-1", "1e3", "1 X", "1,5G", "1..5G", "1 B B", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    if text == "٣":
        # Digits of other scripts are digits to int(), and mean what they say.
        assert quantities.size(text) == 3
        return
    with pytest.raises(ValueError, match="is expected"):
        quantities.size(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50M", 50 * 2**20), ("50M/s", 50 * 2**20), ("400Mbps", 50_000_000), ("8 bit/s", 1), ("1.5Gbps", 187_500_000),
        ("12", 12), ("50MB/s", 50_000_000),
    ],
)  # fmt: skip
def test_rates(text: str, value: int) -> None:
    assert quantities.rate(text) == value


@pytest.mark.parametrize("text", ["0", "7bps", "fast", "", "50M/m", "-1"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at least 1 byte is expected"):
        quantities.rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 7 * 86400),
        ("36h", 36 * 3600),
        ("1d12h", 36 * 3600),
        ("90M", 5400),
        ("2w", 14 * 86400),
        ("0s", 0),
    ],
)
def test_ages(text: str, seconds: int) -> None:
    assert quantities.age(text) == seconds * BILLION


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-7d", "2026-01-01"])
def test_what_is_no_age(text: str) -> None:
    assert quantities.age(text) is None


@pytest.mark.parametrize(
    ("text", "seconds", "nanoseconds"),
    [
        ("1970-01-01", 0, 0),
        ("1970-01-02T00:00:00Z", 86400, 0),
        ("1970-01-01T02:00:00+02:00", 0, 0),
        ("1970-01-01 00:00:01.123456789", 1, 123456789),
        ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
    ],
)
def test_moments(text: str, seconds: int, nanoseconds: int) -> None:
    assert quantities.moment(text) == seconds * BILLION + nanoseconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-01-01T25:00:00", "1.5"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2026-05-31"):
        quantities.moment(text)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(0, BILLION - 1))  # noqa: DTZ001
def test_moments_survive_their_text(day: datetime, fraction: int) -> None:
    whole = day.replace(microsecond=0, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    moment = (whole.days * 86400 + whole.seconds) * BILLION + fraction

    assert quantities.moment(quantities.iso(moment)) == moment
