"""What a user asks for: build a recipe, or say how a workspace stands."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starsmith.builder import Builder, WouldRun
from starsmith.engines.local import LocalEngine
from starsmith.errors import StarsmithError
from starsmith.progress import Quiet, Reporter
from starsmith.recipe import Recipe, loads
from starsmith.storage import Store, disk_errors
from starsmith.workspace import BUILD_FILE, BuildRecord, open_store, read_build, write_build, writing

_SPILL = "tmp/spill"


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished build. `seconds` is the time on the wall of this run."""

    workspace: str
    record: BuildRecord
    seconds: float
    report: str | None

    @property
    def worked(self) -> int:
        """Pieces of work that this run did."""
        return sum(stage.ran for stage in self.record.stages)

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        release = self.record.release
        return {
            "workspace": self.workspace,
            "profile": self.record.profile,
            "until": self.record.until,
            "seconds": round(self.seconds, 3),
            "ran": self.worked,
            "stages": [asdict(stage) for stage in self.record.stages],
            "release": None if release is None else f"{self.workspace}/{release}",
            "report": self.report,
            "notes": list(self.record.notes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a workspace stands. `pending` says what a re-run would do first; None if nothing."""

    workspace: str
    record: BuildRecord
    pending: str | None

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "workspace": self.workspace,
            "profile": self.record.profile,
            "until": self.record.until,
            "release": self.record.release,
            "stages": [asdict(stage) for stage in self.record.stages],
            "rerun": self.pending,
            "notes": list(self.record.notes),
        }


def build(recipe: Recipe, *, workspace: Path, workers: int, until: str, reporter: Reporter) -> BuildResult:
    """Build `recipe` into `workspace` as far as `until`; do only what has not been done."""
    from starsmith.pipeline import Pipeline

    started = time.perf_counter()
    with writing(workspace) as store:
        engine = LocalEngine(workers=workers, spill=store.path(_SPILL))
        try:
            builder = Builder(store=store, engine=engine, reporter=reporter)
            record = Pipeline(recipe=recipe, builder=builder, workers=workers, until=until).run()
        finally:
            engine.close()
        write_build(store, record)
        report = _report(store) if record.release is not None else None
    return BuildResult(workspace=store.root, record=record, seconds=time.perf_counter() - started, report=report)


def _report(store: Store) -> str:
    """Write the report, unless there is one that is newer than the record it tells of; return its path."""
    from starsmith.govern.report import write_report

    path = Path(store.root) / "report.html"
    if not path.exists() or path.stat().st_mtime_ns < Path(store.path(BUILD_FILE)).stat().st_mtime_ns:
        with disk_errors(store.root):
            write_report(store, path)
    return str(path)


def status(workspace: Path) -> Status:
    """Say what the last build of a workspace did and what building again would do."""
    store = open_store(workspace, create=False)
    record = read_build(store)
    return Status(workspace=store.root, record=record, pending=_pending(store, record))


def _pending(store: Store, record: BuildRecord) -> str | None:
    """Plan the last recipe again without running anything."""
    from starsmith.pipeline import Pipeline

    engine = LocalEngine(workers=1, spill=store.path(_SPILL))
    try:
        recipe = loads(record.recipe, base=Path(record.base), name="the recipe of the last build")
        builder = Builder(store=store, engine=engine, reporter=Quiet(), plan=True)
        Pipeline(recipe=recipe, builder=builder, workers=1, until=record.until).run()
    except WouldRun as found:
        return f"{found.stage}: {found.pending} of {found.items} pieces of work, and what follows from them"
    except StarsmithError as error:
        return f"fail: {error}"
    finally:
        engine.close()
    return None
