"""The Blob server that other tests trust: it runs, keeps what it is given and keeps strangers out."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from tests.azurite import Azurite, running_azurite


def test_keeps_what_it_is_given(azurite: Azurite) -> None:
    container = azurite.container("kept")
    container.upload_blob("folder/ä file", b"bytes", metadata={"mode": "0640"})

    blob = container.get_blob_client("folder/ä file")

    assert blob.download_blob().readall() == b"bytes"
    assert blob.get_blob_properties().metadata == {"mode": "0640"}


def test_containers_are_fresh(azurite: Azurite) -> None:
    first, second = azurite.container("same"), azurite.container("same")

    assert first.container_name != second.container_name
    assert list(second.list_blob_names()) == []


def test_refuses_a_wrong_key(azurite: Azurite) -> None:
    wrong = {"account_name": azurite.account, "account_key": "d3Jvbmc="}
    with (
        BlobServiceClient(azurite.url, credential=wrong, retry_total=0) as stranger,
        pytest.raises(HttpResponseError) as refused,
    ):
        stranger.get_account_information()

    assert refused.value.status_code == 403


def test_a_second_server_has_its_own_life(azurite: Azurite, tmp_path: Path) -> None:
    with running_azurite(tmp_path) as second:
        assert second.host != azurite.host
        assert second.process.poll() is None

    assert second.process.returncode is not None
    assert azurite.process.poll() is None
