"""An offer of a key is by that key, for one agent, and follows one key."""

from __future__ import annotations

import pytest

from wherry.trust import key_change, signed
from wherry.trust.keys import PrivateKey
from wherry.trust.signed import Untrusted

NEW, OTHER = PrivateKey.for_agent(), PrivateKey.for_agent()


def test_an_offer_is_for_one_agent_and_follows_one_key():
    text = key_change.offer(NEW, "client", "old")
    assert key_change.verify(text, "client", "old").thumbprint == NEW.thumbprint
    for client, jkt in (("other", "old"), ("client", "other")):
        with pytest.raises(Untrusted):
            key_change.verify(text, client, jkt)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        signed.write({"sub": "client", "follows": "old"}, OTHER, key_change.TYP, {"jwk": NEW.public.jwk()}),
        signed.write({"sub": "client", "follows": "old"}, NEW, "dpop+jwt", {"jwk": NEW.public.jwk()}),
        signed.write({"sub": "client", "follows": "old"}, NEW, key_change.TYP, {"kid": NEW.thumbprint}),
        signed.write({"sub": "client"}, NEW, key_change.TYP, {"jwk": NEW.public.jwk()}),
    ],
)
def test_whoever_does_not_hold_the_new_key_offers_nothing(text):
    with pytest.raises(Untrusted):
        key_change.verify(text, "client", "old")
