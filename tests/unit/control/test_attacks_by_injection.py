"""Words that mean something to a database, a template, a header or a shell: here they are letters, or refused."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from tests.unit.control.conftest import URL
from tests.unit.control.test_directory import GRAPH, Directory, directory, sign_in
from wherry.control.db.tables_identity import principals
from wherry.control.services.types.mover_values import SHARE
from wherry.model import ids

__all__ = ["directory"]

SQL = (
    "x' OR '1'='1",
    "x'; DROP TABLE principals; --",
    'x" OR ""="',
    "x') UNION SELECT verifier FROM credentials --",
    "%",
    "_",
)
TEMPLATES = (
    "{{7777*7777}}",
    "{% include '/etc/passwd' %}",
    "${7777*7777}",
    "{{ config }}",
    "<script>alert(1)</script>",
)
VERSION = {"api-version": "2015-04-01"}


def count(plane) -> int:
    with plane.database.snapshot() as conn:
        return int(conn.execute(select(func.count()).select_from(principals)).scalar_one())


@pytest.mark.parametrize("words", SQL)
async def test_attack_66_words_of_sql_are_letters(client, directory: Directory, plane, words: str) -> None:
    before = count(plane)
    quoted = words.replace("'", "''")
    for told in (f"displayName eq '{quoted}'", f"startswith(displayName,'{quoted}')"):
        answer = await client.get(f"{GRAPH}/users", params={"$filter": told}, headers=directory.headers)
        assert (answer.status_code, answer.json()["value"]) == (200, [])
    raw = await client.get(
        f"{GRAPH}/users", params={"$filter": f"displayName eq '{words}'"}, headers=directory.headers
    )
    assert raw.status_code == (400 if "'" in words else 200)
    assert not raw.json().get("value")
    for path, name in (
        ("/tenants", "$skiptoken"),
        ("/providers/Microsoft.Insights/eventtypes/audit/values", "who"),
    ):
        answer = await client.get(path, params={**VERSION, name: words}, headers=directory.headers)
        assert answer.status_code in (200, 400)
        assert not answer.json().get("value") or path == "/tenants"
    assert (await sign_in(client, words, words)).status_code == 401
    assert (await sign_in(client, f"admin{words}", "x")).status_code == 401
    assert count(plane) == before


@pytest.mark.parametrize("words", TEMPLATES)
async def test_attack_66_words_of_templates_are_letters(client, directory: Directory, words: str) -> None:
    made = await directory.group(words)
    assert made["displayName"] == words
    page = await sign_in(client, words, "x")
    assert page.status_code == 401
    assert "60481729" not in page.text
    assert "root:" not in page.text
    assert "<script>alert" not in page.text


async def test_attack_66_lines_in_headers_and_names_come_to_nothing(client, directory: Directory) -> None:
    evil = "x\r\nset-cookie: a=b\r\n\r\n<html>"
    for name in ("x-ms-client-request-id", "x-ms-correlation-request-id"):
        told = {**directory.headers, name: evil.replace("\r\n", " "), "x-ms-return-client-request-id": "true"}
        answer = await client.get("/tenants", params=VERSION, headers=told)
        assert "a=b" not in str(answer.headers)
    answer = await client.get(f"/signin/upstream/{'x%0d%0aset-cookie:%20a=b'}")
    assert "a=b" not in str(answer.headers)
    await directory.ask("POST", "/groups", {"displayName": evil}, 400)
    assert URL in str(answer.url)


@pytest.mark.parametrize(
    "share",
    [
        "share,exec",
        "share\n-o",
        "a/../b",
        "a;b",
        "a=b",
        "a|b",
        "a\\b",
        "a[b]",
        "a:b",
        "a*",
        'a"b',
        "",
        "x" * 81,
    ],
)
def test_attack_66_options_of_mounts_are_no_names_of_shares(share: str) -> None:
    assert SHARE.fullmatch(share) is None


@pytest.mark.parametrize("words", [*SQL, *TEMPLATES, "a\r\nb", "a\x00b", "a;b", "$(id)", "`id`"])
def test_attack_66_names_of_resources_hold_none_of_it(words: str) -> None:
    assert ids.NAME.fullmatch(words) is None or words == "_"
