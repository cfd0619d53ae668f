"""The master of a Spark cluster, looked at before Spark is: what it lacks, and whether anybody answers there.

Spark itself tries for minutes, or says what it misses in a trace of Java. What a cluster does later is not looked at.
"""

import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starsmith.errors import StarsmithError

CONNECT_SECONDS = 10.0
_PORTS = {"spark": 7077, "k8s": 443}
_IMAGES = {"spark.kubernetes.container.image", "spark.kubernetes.executor.container.image"}


def check_master(master: str, conf: Mapping[str, str]) -> None:
    """Raise StarsmithError for a master that Spark would wait for in vain, or that it lacks something to talk to."""
    if master == "yarn" and not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
        raise StarsmithError(
            "--spark-master yarn: the configuration of Hadoop is not known. Set HADOOP_CONF_DIR to the folder that "
            "holds yarn-site.xml, or submit the build with spark-submit."
        )
    if master.startswith("k8s://") and not _IMAGES & conf.keys() and not os.environ.get("SPARK_CONF_DIR"):
        raise StarsmithError(
            f"--spark-master {master}: no image is named for executors. Give one that holds Starsmith with "
            "--spark-conf spark.kubernetes.container.image=NAME."
        )
    addresses = _addresses(master)
    failures = [failure for address in addresses if (failure := _unreachable(*address))]
    if addresses and len(failures) == len(addresses):
        raise StarsmithError(
            f"--spark-master {master}: nobody answers ({'; '.join(failures)}). Check host and port, and whether the "
            "master is running."
        )


def _addresses(master: str) -> list[tuple[str, int]]:
    """Return where a master is to be reached; nothing for one that is found in other ways."""
    kind, _, rest = master.partition("://")
    if kind not in ("spark", "k8s"):
        return []
    urls = [urlsplit(each if "://" in each else f"https://{each}") for each in rest.split(",")]
    try:
        return [(url.hostname or "", url.port or _PORTS[kind]) for url in urls]
    except ValueError as error:
        raise StarsmithError(f"--spark-master {master}: {error}.") from error


def _unreachable(host: str, port: int) -> str | None:
    """Return why nothing answers at an address, or None."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    return None
