"""What other pages could make a browser send to ours, and what others could get onto ours."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import select

from tests.unit.control.attacked import Target, attacked
from tests.unit.control.conftest import START, URL, Made, app_of
from tests.unit.control.stage import Stage
from wherry.control.db.metadata import metadata
from wherry.control.guard import GuardedRoute
from wherry.control.identity import sessions
from wherry.control.identity.sessions import COOKIE
from wherry.control.services import run_end
from wherry.model.run import End, RunStatus

EVIL = "<script>alert(1)</script>\u202etxt.\x1b[31m\x9b2J\n=1+1"
OAUTH = ("/oauth2/v2.0/token", "/oauth2/token", "/oauth2/v2.0/devicecode", "/oauth2/devicecode")
FORMS = {
    "/signin", "/signin/upstream", "/signout", "/password", "/device", "/device/decide", "/factor", "/factor/enrol",
    "/factors/remove", "/factors/codes", "/agents/unregister", "/start", "/access/revoke",
    "/agents/bundles", "/agents/bundles/download",
}  # fmt: skip


@pytest.fixture(scope="module")
def target(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked(made, tmp_path_factory.mktemp("attacked")) as found:
        yield found


def routes(target: Target) -> list[GuardedRoute]:
    return [route for route in app_of(target.plane).router.routes if isinstance(route, GuardedRoute)]


def changes(route: GuardedRoute) -> bool:
    return not (route.methods or set()) <= {"GET", "HEAD"}


def forms(target: Target) -> list[str]:
    """Every page that changes something: whatever is sent with no more than a cookie."""
    return sorted(
        route.path
        for route in routes(target)
        if changes(route) and route.access.kind in ("public", "session") and not route.path.endswith(OAUTH)
    )


@asynccontextmanager
async def signed_in(target: Target) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A browser in which the administrator has just signed in, and the token of its forms."""
    with target.plane.database.transaction() as conn:
        value = sessions.begin(conn, target.who.oid, START)
    transport = httpx.ASGITransport(app_of(target.plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as browser:
        browser.cookies.set(COOKIE, value, domain="plane.example")
        yield browser, sessions.form_token(target.plane, value)


def kept(target: Target) -> dict[str, list[tuple[object, ...]]]:
    """All that the database holds, but for the trail, in which refusals are."""
    with target.plane.database.snapshot() as conn:
        tables = [one for one in metadata.sorted_tables if one.name != "audit"]
        return {one.name: [tuple(row) for row in conn.execute(select(one))] for one in tables}


# ---------------------------------------------------------------- forms of other pages


def test_the_forms_are_all_known(target: Target) -> None:
    assert set(forms(target)) == FORMS
    # Whoever follows a link, or loads a picture from it, changes nothing: what changes something is sent.
    assert {route.path for route in routes(target) if route.access.kind == "session" and not changes(route)} == {
        "/agents", "/agents/unregister", "/agents/bundles", "/start", "/access", "/access/revoke", "/factors",
    }  # fmt: skip


async def test_attack_62_no_page_takes_a_form_of_another_page(target: Target) -> None:
    async with signed_in(target) as (browser, own), signed_in(target) as (_, others):
        before = kept(target)
        for path in forms(target):
            for fields, headers in (
                ({}, {}),
                ({"form_token": ""}, {}),
                ({"form_token": "0" * 64}, {}),
                ({"form_token": others}, {}),
                ({"form_token": own}, {"origin": "https://evil.example"}),
                ({"form_token": own}, {"origin": "null"}),
                ({"form_token": own}, {"origin": f"{URL}.evil.example"}),
                ({"form_token": own}, {"origin": URL.replace("https", "http")}),
            ):
                sent = {"job": "/x", "decision": "approve", "id": "/x", **fields}
                answer = await browser.post(path, data=sent, headers=headers)
                assert answer.status_code == 403, (path, fields, headers)
                assert "not from this browser" in answer.text
        assert kept(target) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""])
async def test_attack_62_no_page_takes_anything_but_a_form(target: Target, kind: str) -> None:
    async with signed_in(target) as (browser, own):
        before = kept(target)
        for path in forms(target):
            body = json.dumps({"form_token": own, "job": "/x"})
            answer = await browser.post(path, content=body, headers={"content-type": kind} if kind else {})
            assert answer.status_code == 400, path
        assert kept(target) == before


async def test_a_form_of_our_own_is_taken(target: Target) -> None:
    """What is refused above is refused for where it comes from."""
    for path in forms(target):
        async with signed_in(target) as (browser, own):
            for headers in ({"origin": URL}, {}):
                answer = await browser.post(path, data={"form_token": own}, headers=headers)
                if path != "/signout":
                    assert "not from this browser" not in answer.text, path


async def test_attack_62_a_cookie_opens_no_api(target: Target) -> None:
    """What takes JSON takes a token in a header, which no other page can make a browser send."""
    async with signed_in(target) as (browser, _):
        before = kept(target)
        for route in routes(target):
            if not changes(route) or route.access.kind in ("public", "session"):
                continue
            (method,) = sorted(route.methods or {"none"})
            path = route.path.replace("{scope:path}", "subscriptions/x").replace("{", "").replace("}", "")
            answer = await browser.request(
                method, path, content=b"{}", headers={"content-type": "text/plain", "origin": "null"}
            )
            assert answer.status_code == 401, route.path
        assert kept(target) == before


async def test_attack_62_no_other_origin_may_read_anything(target: Target) -> None:
    async with signed_in(target) as (browser, _):
        paths = sorted({route.path for route in routes(target)})
        for number, path in enumerate(paths):
            origin = ("null", "https://evil.example")[number % 2]
            asked = {"origin": origin, "access-control-request-method": "PUT"}
            place = path.replace(":path}", "}").replace("{", "").replace("}", "")
            for answer in (
                await browser.options(place, headers=asked),
                await browser.get(place, headers={"origin": origin}),
            ):
                assert not [name for name in answer.headers if name.startswith("access-control-")], path
                assert answer.headers["cross-origin-resource-policy"] == "same-origin"


# ---------------------------------------------------------------- what browsers make of our answers


async def test_attack_61_no_answer_lets_anything_run(target: Target) -> None:
    """Whatever got into it: no script but the one file of ours, no style but ours, nothing is taken for a page."""
    async with signed_in(target) as (browser, _):
        pages = 0
        for path in sorted({route.path for route in routes(target)}):
            place = path.replace(":path}", "}").replace("{", "").replace("}", "")
            for answer in (await browser.get(place), await browser.get(f"{place}<script>alert(1)</script>")):
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy, path
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert "script-src" not in policy or "script-src 'self'" in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                is_page = answer.headers.get("content-type", "").startswith("text/html")
                assert not is_page or "<script>" not in answer.text
                pages += is_page
        assert pages > 8


async def test_attack_61_paths_and_errors_are_text(target: Target) -> None:
    """Names of folders, what a run failed with, refusals that repeat what was asked for: nothing is hidden in them."""
    with target.plane.database.transaction() as conn:
        stage = Stage(conn, START)
        stage.agent("a")
        job = stage.job(source=f"/data/{EVIL}", container="photos", agentName="a", targetSubpath=EVIL)
        run_end.finish(conn, stage.run(stage.start(job)), End(RunStatus.FAILED, "AZSM1001", EVIL), START)
    async with signed_in(target) as (browser, _):
        pages = {
            place: await browser.get(place, params={"job": job}) for place in ("/start", "/agents", "/access")
        }
        for place in (
            *pages,
            "/agents/unregister",
            "/agents/bundles",
            "/access/revoke",
            "/device",
            "/signin",
        ):
            told = dict.fromkeys(("job", "id", "name", "user_code", "error"), EVIL)
            pages[f"{place} {EVIL}"] = await browser.get(place, params=told)
    for place, shown in pages.items():
        assert "<script" not in shown.text, place
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown.text), place
    page = pages["/start"].text
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert all(word in page for word in ("AZSM1001", "\\u202etxt.\\u001b[31m", "/data/"))


async def test_attack_61_what_is_to_be_kept_is_no_page(target: Target) -> None:
    """A browser that somebody leads to an export saves it; what stands in it is shown by no browser."""
    transport = httpx.ASGITransport(app_of(target.plane))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        answer = await client.get(
            "/providers/Microsoft.Insights/eventtypes/audit/export",
            params={"api-version": "2015-04-01", "who": EVIL},
            headers={"authorization": f"Bearer {target.genuine}"},
        )
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["x-content-type-options"] == "nosniff"
