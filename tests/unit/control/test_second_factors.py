"""Second factors: demanded of everybody, proven once, few guesses, reset by who looks after people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select

from tests.authenticator import Authenticator
from tests.forms import hidden, options_on, secret_on
from tests.unit.control import flows
from tests.unit.control.conftest import URL, app_of
from tests.unit.control.person import Person
from wherry.control import audit, master_key
from wherry.control.db.tables_factors import factors as rows
from wherry.control.db.tables_identity import sessions
from wherry.control.identity.sessions import COOKIE
from wherry.control.services import factors, users
from wherry.trust import onetime, passwords
from wherry.trust.keys import MasterKey


@pytest.fixture(autouse=True)
def demanded(plane):
    plane.settings = replace(plane.settings, second_factor=True)


@pytest.fixture
def person(client, clock, made) -> Person:
    return Person(client, clock, "admin", made.password)


@pytest.fixture
async def other(plane) -> AsyncIterator[httpx.AsyncClient]:
    """Another browser, elsewhere."""
    transport = httpx.ASGITransport(app_of(plane), client=("198.51.100.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


def trail(plane, word: str = "") -> list[str]:
    with plane.database.snapshot() as conn:
        return [f"{one['action']} {one['result']} {one.get('reason', '')}" for one in audit.records(conn)
                if word in str(one)]  # fmt: skip


async def test_a_password_alone_opens_nothing_but_setting_up_a_factor(client, person, plane):
    page = await person.sign_in()
    assert "Set up a second factor" in page.text
    code = await flows.device_code(client)
    answer = await person.send(page, "/device", user_code=code["user_code"])
    assert 'name="password"' in answer.text
    answer = await person.send(page, "/device/decide", user_code=code["user_code"], decision="approve")
    assert answer.status_code == 401
    for path in ("/factors", "/factors/remove", "/factors/codes"):
        answer = await (client.get(path) if path == "/factors" else person.send(page, path))
        assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    assert (await person.prove(page, "123456")).status_code == 401
    assert (await flows.poll(client, code)).json()["error"] == "authorization_pending"


async def test_the_first_sign_in_sets_up_an_app_and_goes_on_to_the_device(client, person, plane, clock):
    code = await flows.device_code(client)
    page = await client.get("/device")
    page = await person.send(page, "/device", user_code=code["user_code"])
    page = await person.send(page, "/signin", login="admin", password=person.password)
    assert page.headers["cache-control"] == "no-store"
    assert "<svg" in page.text
    person.secret = secret_on(page.text)
    wrong = await person.send(page, "/factor/enrol", code=person.wrong()[0])
    assert (wrong.status_code, secret_on(wrong.text)) == (400, secret_on(page.text))
    done = await person.enrol(wrong)
    assert len(person.codes) == 10
    page = await person.send(done, "/device")
    assert "Sign in on another device?" in page.text
    assert "Approved" in (await flows.decide(client, page, "approve")).text
    assert (await flows.poll(client, code)).status_code == 200
    assert "wherry/factor/added allowed totp" in trail(plane)

    clock.now += 30
    code = await flows.device_code(client)
    page = await person.sign_in()
    assert "One more proof" in page.text
    page = await client.post(
        "/factor", data={**hidden(page.text), "code": person.code(), "user_code": code["user_code"]}
    )
    assert "Approved" in (await flows.decide(client, page, "approve")).text


async def test_a_code_counts_once(person, clock, plane):
    await person.enrol(await person.sign_in())
    page = await person.sign_in()
    assert (await person.prove(page)).status_code == 401
    clock.now += 60
    used = person.code()
    assert (await person.prove(page, used)).headers["location"] == "/device"
    page = await person.sign_in()
    assert (await person.prove(page, used)).status_code == 401
    assert (await person.prove(page, person.code(-1))).status_code == 401
    assert (await person.prove(page, person.code(1))).status_code == 303


async def test_wrong_codes_lock_for_a_time_that_grows(person, clock, plane):
    await person.enrol(await person.sign_in())
    clock.now += 3600
    page = await person.sign_in()
    for _ in range(factors.FREE_FAILURES - 1):
        assert (await person.prove(page, person.wrong()[0])).status_code == 401
    assert (await person.prove(page, person.wrong()[0])).status_code == 429
    assert "second factor: wrong code" in trail(plane)[-1]
    for seconds in (60, 120, 240):
        assert (await person.prove(page)).status_code == 429
        clock.now += seconds - 1
        assert (await person.prove(page)).status_code == 429
        clock.now += 1
        page = await person.sign_in()
        assert (await person.prove(page, person.wrong()[0])).status_code == 429
    assert "second factor: locked" in str(trail(plane))
    clock.now += 3600
    assert (await person.prove(await person.sign_in())).status_code == 303


async def test_many_guesses_at_once_get_no_further(person, plane):
    await person.enrol(await person.sign_in())
    page = await person.sign_in()
    answers = await asyncio.gather(
        *(person.prove(page, code) for code in person.wrong(factors.FREE_FAILURES + 3))
    )
    assert {answer.status_code for answer in answers} == {401, 429}
    assert trail(plane).count("wherry/signin denied second factor: wrong code") == factors.FREE_FAILURES


async def test_a_password_that_was_reset_is_changed_and_the_factor_asked_for(
    client, person, plane, clock, admin
):
    await person.enrol(await person.sign_in())
    with plane.database.transaction() as conn:
        users.set_password(conn, admin, passwords.protect("a first password"), clock.now, must_change=True)
    clock.now += 60
    person.password, new = "a first password", "a lone green tree"
    page = await person.sign_in()
    page = await person.send(page, "/password", login="admin", password=person.password, new=new, again=new)
    assert "One more proof" in page.text
    assert (await person.prove(page)).headers["location"] == "/device"


async def test_recovery_codes_open_once_each_and_are_replaced(client, person, plane, clock):
    await person.enrol(await person.sign_in())
    first, second, *_ = person.codes
    page = await person.sign_in()
    assert (await person.prove(page, f" {first.upper()} ")).status_code == 303
    assert "codes left: 9" in (await client.get("/factors")).text
    page = await person.sign_in()
    assert (await person.prove(page, first)).status_code == 401
    assert (await person.prove(page, second)).status_code == 303
    page = await client.get("/factors")
    made = await person.send(page, "/factors/codes")
    assert second not in made.text
    assert made.text.count("<li>") == 10
    page = await person.sign_in()
    assert (await person.prove(page, person.codes[2])).status_code == 401
    with plane.database.snapshot() as conn:
        assert not any(code.replace("-", "") in str(list(audit.records(conn))) for code in person.codes)


async def test_a_passkey_is_a_factor(client, person, plane):
    key = Authenticator(URL, counter=1)
    page = await person.sign_in()
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert '<script src="/signin/passkey.js"' in page.text
    assert (await client.get("/signin/passkey.js")).headers["content-type"].startswith("text/javascript")
    stranger = Authenticator("https://evil.example")
    assert (await person.enrol_key(page, stranger)).status_code == 400
    page = await client.get("/factor")
    await person.enrol_key(page, key)
    assert len(person.codes) == 10
    page = await person.sign_in()
    answer = key.get(options_on(page.text))
    assert (await person.send(page, "/factor", credential=answer)).headers["location"] == "/device"
    assert "second factor" not in str(trail(plane))
    page = await person.sign_in()
    assert (await person.send(page, "/factor", credential=answer)).status_code == 401
    assert (await person.send(page, "/factor", credential=key.get(options_on(page.text)))).status_code == 401
    assert "Wrong challenge" in trail(plane)[-1]
    page = await client.get("/factor")
    key.counter = 1
    assert (await person.send(page, "/factor", credential=key.get(options_on(page.text)))).status_code == 401
    assert "copy" in trail(plane)[-1]


async def test_where_the_host_is_an_address_there_are_no_passkeys(person, plane, clock):
    plane.public_url = "https://192.0.2.1"
    page = await person.sign_in()
    assert "data-options" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    await person.enrol(page)


async def test_who_knows_the_password_adds_no_factor_to_those_that_are_there(
    client, other, person, made, clock
):
    thief = Person(other, clock, "admin", made.password)
    early = await thief.sign_in()
    page = await person.sign_in()
    assert secret_on(early.text) != secret_on(page.text)
    await person.enrol(page)
    assert (await thief.enrol(early)).status_code == 401
    page = await thief.sign_in()
    assert (await thief.client.get("/factor/enrol")).status_code == 401
    assert (await thief.send(page, "/factor/enrol", code="123456")).status_code == 401
    new = "a lone green tree"
    changed = await thief.send(page, "/password", login="admin", password=made.password, new=new, again=new)
    assert changed.status_code == 403
    assert (await thief.send(page, "/factors/codes")).headers["location"] == "/signin"


async def test_the_session_gets_another_name_with_each_proof_and_a_half_one_ends_soon(
    client, person, plane, clock
):
    await client.get("/signin")
    names = {client.cookies[COOKIE]}
    page = await person.sign_in()
    names.add(client.cookies[COOKIE])
    await person.enrol(page)
    names.add(client.cookies[COOKIE])
    clock.now += 60
    page = await person.sign_in()
    names.add(half := client.cookies[COOKIE])
    await person.prove(page)
    names.add(client.cookies[COOKIE])
    assert len(names) == 5
    client.cookies.set(COOKIE, half, domain="plane.example")
    assert (await client.get("/factor")).headers["location"] == "/signin"
    clock.now += 60
    page = await person.sign_in()
    clock.now += 601
    assert 'name="password"' in (await person.prove(page)).text


async def test_the_password_is_changed_with_the_factor_and_the_sign_in_goes_on(client, person, made, clock):
    await person.enrol(await person.sign_in())
    page = await client.get("/password")
    new = "a lone green tree"
    fields = {"login": "admin", "password": made.password, "new": new, "again": new}
    assert (await person.send(page, "/password", **fields)).headers["location"] == "/device"
    assert (await client.get("/factors")).status_code == 200
    person.password = new
    clock.now += 60
    assert (await person.prove(await person.sign_in())).status_code == 303


async def test_factors_are_added_and_removed_and_the_last_stays(client, person, plane, clock):
    await person.enrol(await person.sign_in())
    page = await client.get("/factor/enrol")
    answer = await person.enrol_key(page, Authenticator(URL))
    assert answer.headers["location"] == "/factors"
    page = await client.get("/factors")
    assert "Passkey 2" in page.text
    with plane.database.snapshot() as conn:
        app, key = conn.execute(select(rows.c.id).order_by(rows.c.name)).scalars()
    assert (await person.send(page, "/factors/remove", factor="other")).status_code == 404
    assert (await person.send(page, "/factors/remove", factor=app)).status_code == 303
    assert (await person.send(page, "/factors/remove", factor=key)).status_code == 400
    clock.now += 601
    assert (await person.send(page, "/factors/codes")).status_code == 403
    assert (await client.get("/factor/enrol")).status_code == 401
    assert "wherry/factor/removed allowed totp" in trail(plane)


async def test_no_one_has_countless_factors(client, person):
    await person.enrol(await person.sign_in())
    for _ in range(factors.MOST - 1):
        await person.enrol_key(await client.get("/factor/enrol"), Authenticator(URL))
    answer = await person.enrol_key(await client.get("/factor/enrol"), Authenticator(URL))
    assert answer.status_code == 400
    assert "at most" in answer.text


async def test_a_passkey_belongs_to_one(client, person):
    await person.enrol(await person.sign_in())
    key = Authenticator(URL)
    await person.enrol_key(await client.get("/factor/enrol"), key)
    assert (await person.enrol_key(await client.get("/factor/enrol"), key)).status_code == 409


async def test_an_administrator_resets_and_the_next_sign_in_sets_up_anew(client, person, plane, clock):
    await person.enrol(await person.sign_in())
    code = await flows.device_code(client)
    page = await client.get("/device")
    page = await person.send(page, "/device", user_code=code["user_code"])
    await flows.decide(client, page, "approve")
    token = (await flows.poll(client, code)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    shown = (await client.get("/graph/v1.0/users/admin/authentication/methods", headers=headers)).json()[
        "value"
    ]
    assert [one["@odata.type"].rpartition(".")[2] for one in shown] == [
        "softwareOathAuthenticationMethod", "recoveryCodes",
    ]  # fmt: skip
    assert shown[1]["left"] == 10
    missing = await client.get("/graph/v1.0/users/nobody/authentication/methods", headers=headers)
    assert missing.status_code == 404
    assert (
        await client.post("/graph/v1.0/users/admin/authentication/reset", headers=headers)
    ).status_code == 204
    assert (await client.get("/graph/v1.0/me", headers=headers)).status_code == 401
    assert (await client.get("/factors")).status_code == 303
    assert "factors-reset" in trail(plane)[-2] or "factors-reset" in trail(plane)[-1]
    clock.now += 60
    assert "Set up a second factor" in (await person.sign_in()).text


async def test_where_nothing_is_demanded_who_has_a_factor_is_asked_for_it(client, person, plane, clock):
    plane.settings = replace(plane.settings, second_factor=False)
    assert (await person.sign_in()).headers["location"] == "/device"
    assert "There is none" in (await client.get("/factors")).text
    await person.enrol(await client.get("/factor/enrol"))
    clock.now += 60
    assert "One more proof" in (await person.sign_in()).text


async def test_who_signed_in_before_it_was_demanded_signs_in_again(client, person, plane):
    plane.settings = replace(plane.settings, second_factor=False)
    await person.sign_in()
    assert (await client.get("/factors")).status_code == 200
    plane.settings = replace(plane.settings, second_factor=True)
    assert (await client.get("/factors")).headers["location"] == "/signin"


async def test_secrets_are_sealed_and_a_new_master_key_keeps_them(client, person, plane, clock):
    page = await person.sign_in()
    await person.enrol(page)
    await client.get("/factor/enrol")
    new = MasterKey.generate()
    with plane.database.transaction() as conn:
        for sealed in (
            conn.execute(select(rows.c.sealed)).scalar_one(),
            conn.execute(select(sessions.c.offered)).scalar(),
        ):
            assert sealed is not None
            assert plane.master.sealed(sealed)
            assert person.secret not in sealed
        master_key.reseal(conn, plane.master, new)
        assert conn.execute(select(sessions.c.offered)).scalar() is None
    plane.master = new
    clock.now += 60
    assert (await person.prove(await person.sign_in())).status_code == 303


async def test_what_comes_with_a_user_goes_with_it(plane, clock):
    secret = onetime.new_secret()
    with plane.database.transaction() as conn:
        oid = users.create(conn, "alice", "Alice", "password", clock.now)
        assert factors.add_app(
            conn, plane.master, oid, secret, onetime.code(secret, int(clock.now // 30)), clock.now
        )
        factors.new_codes(conn, oid)
        users.delete(conn, oid, clock.now)
        assert not factors.has_any(conn, oid)
        assert factors.codes_left(conn, oid) == 0
