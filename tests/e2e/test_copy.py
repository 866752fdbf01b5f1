"""`wherry copy` as a process: interrupted, and going on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import generate_container_sas

from tests.azurite import Azurite
from tests.buckets import IDENTITY, SECRET, BucketServer
from tests.e2e.shell import Shell
from wherry.cli.exits import Exit


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_a_moment_and_goes_on_later(number: signal.Signals, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in range(40):
        (source / str(folder)).mkdir(parents=True)
        for file in range(500):
            (source / str(folder) / str(file)).touch()
    command = [
        sys.executable, "-m", "wherry.cli.main", "copy", str(source), str(target),
        "--state", str(tmp_path / "state.db"), "--workers", "1", "--report", str(tmp_path / "report.json"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (target / "0").exists():
        time.sleep(0.01)
        assert process.poll() is None

    process.send_signal(number)
    _, err = process.communicate(timeout=20)

    assert process.returncode == Exit.INTERRUPTED
    assert "--state goes on from here" in err
    assert len(os.listdir(target)) < 40
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["exitCode"]) == ("Canceled", Exit.INTERRUPTED)
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    told = json.loads(again.stdout)
    assert told["resumed"] is True
    assert told["items"] == {"Scanned": 20_040, "Transferred": 20_040}
    assert json.loads((tmp_path / "report.json").read_text())["items"] == told["items"]


def test_into_a_container_and_out_of_it(tmp_path: Path, azurite: Azurite) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "deep" / "ä file").write_bytes(os.urandom(5000))
    (source / "big").write_bytes(os.urandom(9 * 2**20))
    name = azurite.container("copy").container_name
    end = datetime.now(UTC) + timedelta(minutes=10)
    sas = generate_container_sas(
        azurite.account, name, account_key=azurite.key, permission="rwdl", expiry=end
    )
    shell, place = Shell(tmp_path), f"blob:{azurite.url}/{name}"

    there = shell.process("copy", "source", place, "--workers", "1", WHERRY_BLOB_SAS=sas)
    again = shell.process("copy", "source", place, "--workers", "1", WHERRY_BLOB_SAS=sas)
    back = shell.process("copy", place, "back", "--workers", "1", WHERRY_BLOB_SAS=sas)

    assert there.data["items"] == {"Scanned": 4, "Transferred": 4}
    assert again.data["items"] == {"Scanned": 4, "NoTransferNeeded": 4}
    assert back.data["items"] == {"Scanned": 4, "Transferred": 4}
    for path in ("deep/ä file", "big"):
        assert (tmp_path / "back" / path).read_bytes() == (source / path).read_bytes()
    assert (tmp_path / "back" / "empty").is_dir()
    refused = shell.process("copy", "source", place, code=11, WHERRY_BLOB_SAS="sig=nonsense-nonsense")
    assert "nonsense" not in refused.out + refused.err


def test_into_a_bucket_and_out_of_it(tmp_path: Path, bucket_server: BucketServer) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "deep" / "ä file").write_bytes(os.urandom(5000))
    (source / "big").write_bytes(os.urandom(20 * 2**20))
    os.utime(source / "big", ns=(10**18, 10**18 + 123_456_789))
    url = f"{bucket_server.scheme}://{bucket_server.host}"
    bucket = bucket_server.bucket("copy")
    key = {"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": url}
    shell = Shell(tmp_path, key)

    there = shell.process("copy", "source", f"s3:{bucket}/a/b", "--workers", "1", "--report", "report.json")
    again = shell.process("copy", "source", f"s3:{url}/{bucket}/a/b", "--workers", "1")
    back = shell.process("copy", f"s3:{bucket}/a/b", "back", "--workers", "1")

    assert there.data["items"] == {"Scanned": 4, "Transferred": 4}
    assert again.data["items"] == {"Scanned": 4, "NoTransferNeeded": 4}
    assert back.data["items"] == {"Scanned": 4, "Transferred": 4}
    assert (tmp_path / "back" / "big").read_bytes() == (source / "big").read_bytes()
    assert (tmp_path / "back" / "big").stat().st_mtime_ns == 10**18 + 123_456_789
    assert (tmp_path / "back" / "empty").is_dir()
    listed = bucket_server.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert {one["Key"] for one in listed} >= {"a/b/big", "a/b/deep/ä file"}
    assert SECRET not in there.out + there.err + (tmp_path / "report.json").read_text()
    refused = shell.process(
        "copy", "source", f"s3:{bucket}", code=11, AWS_SECRET_ACCESS_KEY="nonsense-nonsense"
    )
    assert "nonsense" not in refused.out + refused.err


def test_from_a_container_into_a_bucket(
    tmp_path: Path, azurite: Azurite, bucket_server: BucketServer
) -> None:
    client = azurite.container("between")
    name = client.container_name
    client.upload_blob("folder/file", b"content")
    client.upload_blob("other", b"not asked for")
    end = datetime.now(UTC) + timedelta(minutes=10)
    sas = generate_container_sas(azurite.account, name, account_key=azurite.key, permission="rl", expiry=end)
    bucket = bucket_server.bucket("between")
    key = {"AWS_ACCESS_KEY_ID": IDENTITY, "AWS_SECRET_ACCESS_KEY": SECRET, "WHERRY_BLOB_SAS": sas}
    url = f"{bucket_server.scheme}://{bucket_server.host}/{bucket}"

    done = Shell(tmp_path, key).process(
        "copy", f"blob:{azurite.url}/{name}/folder", f"s3:{url}/kept", "--workers", "1"
    )

    assert done.data["items"] == {"Scanned": 1, "Transferred": 1}
    assert bucket_server.client.get_object(Bucket=bucket, Key="kept/file")["Body"].read() == b"content"
