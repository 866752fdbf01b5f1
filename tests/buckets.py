"""Starts a server of S3 on a free loopback port, and makes buckets in it; see `tests.moto_program` for what it is."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.azurite import wait_until_listening
from wherry.stores.port import StoreSpec

PROGRAM = Path(__file__).with_name("moto_program.py")
IDENTITY, SECRET = "AKIATESTTESTTESTTEST", "a-secret/of+forty-characters-for-tests-only"


@dataclass(frozen=True)
class BucketServer:
    """A running server; `client` is the vendor's own, as a judge of what arrived."""

    host: str
    scheme: str
    process: subprocess.Popen[str]
    ca_file: str = ""
    client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=f"{self.scheme}://{self.host}",
            aws_access_key_id=IDENTITY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            verify=self.ca_file or None,
            config=Config(s3={"addressing_style": "path"}),
        )
        object.__setattr__(self, "client", client)

    def bucket(self, prefix: str = "test") -> str:
        """A fresh, empty bucket; its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def spec(self, bucket: str, subpath: bytes = b"") -> StoreSpec:
        """How Wherry opens a bucket."""
        return StoreSpec(
            "s3",
            f"{self.scheme}://{self.host}/{bucket}",
            subpath,
            secret=SECRET,
            ca_file=self.ca_file,
            identity=IDENTITY,
        )

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def running_buckets(ca_file: str = "", *tls: str) -> Iterator[BucketServer]:
    """A server that keeps all in memory; `tls`: its certificate and key."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), IDENTITY, SECRET, *tls],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    try:
        scheme, port = wait_until_listening(process)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    server = BucketServer(f"127.0.0.1:{port}", scheme, process, ca_file)
    try:
        yield server
    finally:
        server.close()
