#!/usr/bin/env bash
# Starts a standalone Spark cluster on the machines of a SLURM job, builds a recipe on it, and stops it.
#
#     sbatch --nodes=8 --ntasks-per-node=1 --cpus-per-task=32 --mem=120G scripts/spark-in-a-job.sh \
#         recipe.toml --workspace /shared/corpus
#
# The first machine runs the master and the driver, every one a worker. All see the same folders and the same Python
# with `starsmith[spark]`. Outside of SLURM two workers are started on this machine, for a try.
set -euo pipefail

PYTHON=${PYTHON:-$(command -v python3)}
CORES=${CORES:-${SLURM_CPUS_PER_TASK:-1}}
MEMORY_MB=${MEMORY_MB:-$((CORES * 3072))}
PORT=${PORT:-7077}
host=${HOST:-$(hostname -f)}
# Where Spark spills, on each machine: a local disk is best. What all machines read lies where the job was submitted.
scratch=${SCRATCH:-${TMPDIR:-/tmp}}/spark-${SLURM_JOB_ID:-$$}
shared=$PWD/spark-${SLURM_JOB_ID:-$$}
mkdir -p "$scratch" "$shared"

SPARK_HOME=$("$PYTHON" -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent)')
found=$("$PYTHON" -c 'import sys; from starsmith.engines.spark_session import java_home; print(java_home(sys.argv[1]) or "")' "$shared")
JAVA_HOME=${found:-${JAVA_HOME:-}}
[ -n "$JAVA_HOME" ] || unset JAVA_HOME
# Workers find what the driver finds: the same packages, the same credentials.
export SPARK_HOME PYSPARK_PYTHON=$PYTHON SPARK_SCALA_VERSION=2.13 SPARK_LOCAL_DIRS=$scratch SPARK_LOG_DIR=$scratch
[ -z "${JAVA_HOME:-}" ] || export JAVA_HOME

"$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master --host "$host" --port "$PORT" --webui-port 8080 \
    >"$scratch/master.log" 2>&1 &
started=($!)
trap 'kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$scratch" "$shared"' EXIT

worker=("$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker "spark://$host:$PORT"
    --cores "$CORES" --memory "${MEMORY_MB}m" --work-dir "$scratch/work" --webui-port 0)
if [ -n "${SLURM_JOB_ID:-}" ]; then
    srun --ntasks-per-node=1 bash -c 'mkdir -p "$0" && exec "$@"' "$scratch" "${worker[@]}" >"$scratch/workers.log" 2>&1 &
    started+=($!)
else
    for number in 1 2; do
        "${worker[@]}" >"$scratch/worker-$number.log" 2>&1 &
        started+=($!)
    done
fi
until (exec 3<>"/dev/tcp/$host/$PORT") 2>/dev/null; do
    kill -0 "${started[0]}" || { cat "$scratch/master.log" >&2; exit 1; }
    sleep 0.5
done

"$PYTHON" -m starsmith build --engine spark --spark-master "spark://$host:$PORT" \
    --spark-conf "spark.executor.memory=$((MEMORY_MB / 3))m" "$@"
