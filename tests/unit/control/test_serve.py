"""What `wherry serve` is told, and what it says when that makes no sense."""

from __future__ import annotations

import json
import logging
import os

import pytest

from tests.unit.control.conftest import START
from wherry.control import journal, serve
from wherry.model.errors import UsageError
from wherry.trust import authority


@pytest.mark.parametrize("listen", ["", "8443", "host", "host:", "host:x", "host:65536", "[::1]"])
def test_an_address_that_is_none(tmp_path, listen):
    with pytest.raises(UsageError, match="HOST:PORT"):
        serve.run(tmp_path / "state", listen)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "http://plane.example",
        "plane.example",
        "https://",
        "https://plane.example/path",
        "https://me@plane.example",
    ],
)
def test_a_public_url_that_is_none(tmp_path, url):
    with pytest.raises(UsageError, match="--public-url"):
        serve.run(tmp_path / "state", "127.0.0.1:0", url)


def test_other_options_that_make_no_sense(tmp_path):
    with pytest.raises(UsageError, match="belong together"):
        serve.run(tmp_path / "state", "127.0.0.1:0", tls_cert=tmp_path / "c.pem")
    with pytest.raises(UsageError, match="Unknown log level"):
        serve.run(tmp_path / "state", "127.0.0.1:0", log_level="loud")
    with pytest.raises(UsageError, match="Cannot listen"):
        serve.run(tmp_path / "state", "192.0.2.1:0")


def test_a_certificate_that_does_not_fit_its_key(state):
    ca = authority.create_ca("x", START)
    (state / "c.pem").write_bytes(authority.issue_server(ca, ["a"], START).certificate)
    (state / "k.pem").write_bytes(authority.issue_server(ca, ["a"], START).key)
    with pytest.raises(UsageError, match="cannot be used"):
        serve.run(state, "127.0.0.1:0", tls_cert=state / "c.pem", tls_key=state / "k.pem")
    with pytest.raises(UsageError, match="cannot be used"):
        serve.run(state, "127.0.0.1:0", tls_cert=state / "none.pem", tls_key=state / "k.pem")


def test_attack_59_a_line_of_the_log_is_json_with_known_fields_only():
    record = logging.LogRecord("wherry", logging.INFO, __file__, 1, "said %s", ("so\n",), None)
    record.request_id = "id"
    record.password = "canary-4711"
    line = journal.JsonLines().format(record)
    assert "\n" not in line
    assert "canary-4711" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "info", "logger": "wherry", "message": "said so\n", "request_id": "id",
    }  # fmt: skip


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level
    root.setLevel(level)


@pytest.fixture(autouse=True)
def umask_as_before(monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _mask: 0)
