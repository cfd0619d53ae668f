"""What the official solutions do, run once: EvalPlus's oracle compares with it, at 1.5 to 2.6 s a problem.

Kept in the user's cache folder, one file a problem, under a digest of all that it depends on: the benchmark's version,
its data, the interpreter and the solution's source. A file that cannot be read is made again.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starsmith.disk import disk_errors
from starsmith.errors import StarsmithError
from starsmith.evaluate.inside import wire
from starsmith.evaluate.problem import Work
from starsmith.evaluate.run import Output, Program, Run

HELD: Final = 4
"""Problems whose runs are held in memory. Generations come problem by problem, as a rule."""


def cache_folder() -> Path:
    """Return the folder for what can be made again: `$XDG_CACHE_HOME/starsmith`, or `~/.cache/starsmith`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "starsmith"


class References:
    """The runs of official solutions. One is asked for by what `key` makes of a problem and its work.

    Args:
        settings: a digest of what the runs of every problem depend on.
        folder: where they are kept.
    """

    def __init__(self, settings: str, folder: Path) -> None:
        self._folder = folder / "references" / settings[:32]
        self._held: dict[str, Sequence[Run]] = {}
        self._failed: dict[str, Sequence[Run]] = {}

    def find(self, key: str) -> Sequence[Run] | None:
        """Return the runs of a problem's official solution; None where it was not run yet."""
        if key in self._failed:
            return self._failed[key]
        runs = self._held.pop(key, None) or self._read(key)
        if runs is not None:
            self._hold(key, runs)
        return runs

    def keep(self, key: str, runs: Sequence[Run]) -> None:
        """Write down the runs of a problem's official solution. One that failed is run again next time."""
        if any(run.status != "passed" for run in runs):
            self._failed[key] = runs
            return
        self._hold(key, runs)
        text = json.dumps({"runs": [_packed(run) for run in runs]})
        with disk_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            try:
                with open(handle, "w", encoding="ascii") as file:
                    file.write(text)
                os.replace(name, self._path(key))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def _hold(self, key: str, runs: Sequence[Run]) -> None:
        self._held[key] = runs
        while len(self._held) > HELD:
            del self._held[next(iter(self._held))]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _read(self, key: str) -> Sequence[Run] | None:
        try:
            return [_run(row) for row in json.loads(self._path(key).read_bytes())["runs"]]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StarsmithError(f"{self._path(key)} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            # Damaged: made again.
            return None


def key(problem: str, work: Sequence[Work]) -> str:
    """Return the name of the runs of a problem's work. Inputs do not enter: the data's digest stands for them."""
    sources = [(each.source, each.entry_point, len(each.calls)) for each in work if isinstance(each, Program)]
    return hashlib.sha256(json.dumps([problem, len(work), sources]).encode("ascii")).hexdigest()[:32]


def _packed(run: Run) -> Mapping[str, Any]:
    outputs = [
        {"raised": out.raised} if out.raised else {"value": wire.dumps(out.value).decode()} for out in run.outputs
    ]
    return {
        "cpu_seconds": run.cpu_seconds,
        "wall_seconds": run.wall_seconds,
        "stdout": run.stdout.decode("latin-1"),
        "outputs": outputs,
    }


def _run(row: Mapping[str, Any]) -> Run:
    return Run(
        id="",
        status="passed",
        stdout=row["stdout"].encode("latin-1"),
        outputs=tuple(_output(each) for each in row["outputs"]),
        cpu_seconds=row["cpu_seconds"],
        wall_seconds=row["wall_seconds"],
    )


def _output(row: Mapping[str, str]) -> Output:
    return Output(raised=row["raised"]) if "raised" in row else Output(value=wire.loads(row["value"].encode()))
