"""An answer that is no listing is not a listing of nothing."""

from __future__ import annotations

import pytest

from wherry.model.errors import StoreError
from wherry.stores.blob import listing


def test_a_page_of_somebody_else_is_refused():
    with pytest.raises(StoreError):
        listing.page(b"<html><body>Please sign in.</body></html>")
