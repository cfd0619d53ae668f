"""An S3 server of the tests' own: SeaweedFS, a real one, on the loopback interface."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from pyarrow import fs

BUCKET = "corpora"
_ACCOUNT = {"accessKey": "tester", "secretKey": "not-a-secret"}
_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
)
_FLAGS = (
    "-dir=. -s3 -s3.config=accounts.json -s3.autoCreateBucket=false -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 "
    "-ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -master.volumeSizeLimitMB=256 -volume.max=100"
).split()


class ObjectServer:
    """A server with one bucket and one account. What it holds survives that it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(len(_PORTS))
        self.port = self._ports[0]
        accounts = [{"name": "tester", "credentials": [_ACCOUNT], "actions": _ACTIONS}]
        (folder / "accounts.json").write_text(json.dumps({"identities": accounts}))
        self.start()

    def start(self) -> None:
        program = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert program is not None, "there is no `weed`; install the package with its `dev` extra"
        ports = [f"-{name}={port}" for name, port in zip(_PORTS, self._ports, strict=True)]
        self._process = subprocess.Popen(
            # When the tests are killed, it goes too.
            ["setpriv", "--pdeathsig", "KILL", program, "server", *_FLAGS, *ports],
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self) -> None:
        """Wait until an object can be written: the server's parts find each other one by one."""
        connection = self._connection()
        for _ in range(300):
            assert self._process.poll() is None, "the S3 server has ended"
            with contextlib.suppress(OSError):
                connection.create_dir(BUCKET)
                connection.open_output_stream(f"{BUCKET}/ready").close()
                return
            time.sleep(0.1)
        raise AssertionError("the S3 server did not start")

    def _connection(self) -> fs.FileSystem:
        return fs.S3FileSystem(
            access_key=_ACCOUNT["accessKey"],
            secret_key=_ACCOUNT["secretKey"],
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Return what a user of this server has in the environment; `port` is that of a proxy before it."""
        return {
            "AWS_ACCESS_KEY_ID": _ACCOUNT["accessKey"],
            "AWS_SECRET_ACCESS_KEY": _ACCOUNT["secretKey"],
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
