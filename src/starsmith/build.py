"""What a user asks for: build a recipe, remove what was asked to be left out, or say how a workspace stands."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starsmith.builder import Builder, WouldRun
from starsmith.engines import Engine, SparkOptions
from starsmith.engines.local import LocalEngine
from starsmith.errors import Damage, StarsmithError
from starsmith.govern.foreign_text import counted
from starsmith.govern.opt_out import read as read_opt_outs
from starsmith.progress import Quiet, Reporter
from starsmith.recipe import Recipe, loads
from starsmith.settings import OptOutSettings
from starsmith.storage import Store
from starsmith.workspace import BUILD_FILE, FORMAT_FILE, BuildRecord, open_store, read_build, write_build, writing

if TYPE_CHECKING:
    # What works on texts takes half a second to load; a removal starts its workers first.
    from starsmith.purge import Purged
    from starsmith.removal import Proof

DOCUMENTS_PER_WORKER = 250_000
"""A removal from fewer documents is over before a second worker would have started: that takes 1 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished build. `seconds` is the time on the wall of this run; `receipts` are what it gave to requesters.

    `address` is what a command is given to open the workspace, `workspace` where it is.
    """

    workspace: str
    address: str
    record: BuildRecord
    seconds: float
    report: str | None
    receipts: tuple[str, ...] = ()

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
            "engine": self.record.engine,
            "workers": self.record.workers,
            "executors": self.record.executors,
            "stages": [asdict(stage) for stage in self.record.stages],
            "release": None if release is None else f"{self.workspace}/{release}",
            "report": self.report,
            "receipts": [f"{self.workspace}/{name}" for name in self.receipts],
            "notes": list(self.record.notes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What `opt-out apply` did. `requests` is how many are on the list, whoever they are of."""

    workspace: str
    requests: int
    record: BuildRecord
    proof: "Proof"
    purged: "Purged | None"
    report: str | None
    seconds: float

    @property
    def receipts(self) -> tuple[str, ...]:
        """The receipts that are valid now, of those that this run gave."""
        again = self.purged.receipts if self.purged else ()
        return again or self.proof.receipts

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        purged = self.purged
        return {
            "workspace": self.workspace,
            "requests": self.requests,
            **self.proof.plain(),
            "delta": None if self.proof.delta is None else f"{self.workspace}/{self.proof.delta}",
            "receipts": [f"{self.workspace}/{name}" for name in self.receipts],
            "release": f"{self.workspace}/{self.record.release}",
            "purged": None
            if purged is None
            else {"releases": list(purged.releases), "files": purged.files, "bytes": purged.bytes},
            "seconds": round(self.seconds, 3),
        }

    def words(self) -> str:
        """Return what a person reads: counts, and where things lie."""
        proof, lines = self.proof, []
        listed = counted(self.requests, "request")
        if proof.receipts:
            lines.append(
                f"{len(proof.receipts):,} of {listed} applied: {counted(proof.origins, 'origin')} and "
                f"{counted(proof.documents, 'document')} left, {proof.released:,} of which were in the release."
            )
        else:
            lines.append(f"Nothing to remove: the list has {listed}, and none waits for a receipt.")
        if proof.before is not None:
            lines.append(f"Withdrawn  {self.workspace}/releases/{proof.before}")
            lines.append(
                f"Changed    {counted(proof.files, 'file')}; {counted(proof.returned, 'document')} in place of others"
            )
        lines.append(f"Release    {self.workspace}/{self.record.release}")
        if proof.delta is not None:
            lines.append(f"Delta      {self.workspace}/{proof.delta}")
        lines += [f"Receipt    {self.workspace}/{name}" for name in self.receipts]
        if self.purged is not None:
            lines.append(f"Purged     {self.purged.files:,} files, {self.purged.bytes:,} bytes")
            lines += [f"Deleted    {self.workspace}/releases/{name}" for name in self.purged.releases]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptOutCounts:
    """How many requests there are, how many of them wait for the next build, and how many releases are withdrawn."""

    requests: int
    pending: int
    withdrawn: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How a workspace stands. `pending` says what a re-run would do first; None if nothing. `damaged` has a sentence
    for every file of the last build that is missing or cut, or was found damaged on the way."""

    workspace: str
    address: str
    record: BuildRecord
    pending: str | None
    opt_outs: OptOutCounts
    damaged: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "workspace": self.workspace,
            "profile": self.record.profile,
            "until": self.record.until,
            "release": self.record.release,
            "engine": self.record.engine,
            "workers": self.record.workers,
            "executors": self.record.executors,
            "stages": [asdict(stage) for stage in self.record.stages],
            "rerun": self.pending,
            "opt_outs": asdict(self.opt_outs),
            "damaged": list(self.damaged),
            "notes": list(self.record.notes),
        }


def build(
    recipe: Recipe,
    *,
    workspace: Path | str,
    workers: int,
    until: str,
    reporter: Reporter,
    spark: SparkOptions | None = None,
) -> BuildResult:
    """Build `recipe` into `workspace` as far as `until`; do only what has not been done.

    With `spark` the work is done on Spark, else by `workers` processes on this machine; the bytes are the same.

    Requests on the opt-out list that take effect with it get their receipts.
    """
    from starsmith import removal

    started = time.perf_counter()
    with writing(workspace) as store:
        draft, finished = removal.before(store, recipe.opt_out.copies)
        with _engine(store, workers=workers, spark=spark) as engine:
            record = _run(store, engine, recipe, until=until, reporter=reporter)
        proof = removal.after(store, record, draft)
        report = _report(store) if record.release is not None else None
    if receipts := finished.receipts + proof.receipts:
        reporter.note(
            f"{counted(len(receipts), 'request')} to be left out took effect; receipts are in {store.root}/receipts."
        )
    seconds = time.perf_counter() - started
    return BuildResult(
        workspace=store.root,
        address=store.uri,
        record=record,
        seconds=seconds,
        report=report,
        receipts=receipts,
    )


def apply_opt_outs(
    workspace: Path | str, *, purge: bool, workers: int, reporter: Reporter, spark: SparkOptions | None = None
) -> Applied:
    """Remove what the requests without a receipt name, without the sources; with `purge` from the workspace too.

    Raises StarsmithError for a workspace whose last build has no release.
    """
    started = time.perf_counter()
    open_store(workspace, create=False)
    with writing(workspace) as store:
        record = _released(store)
        recipe = loads(record.recipe, base=Path(record.base), name="the recipe of the last build")
        with _engine(store, workers=workers, spark=spark) as engine:
            if read_opt_outs(store).requests:
                _prepare(engine, record)
            from starsmith import removal

            draft, proof = removal.before(store, recipe.opt_out.copies)
            if draft is not None:
                record = _run(store, engine, recipe, until=record.until, reporter=reporter, stored=record)
        if draft is not None:
            proof = removal.after(store, record, draft).joined(proof)
        purged = _purge(store, record) if purge else None
        report = _report(store, anew=purge) if draft is not None or purge else None
        requests = len(read_opt_outs(store).requests)
    return Applied(
        workspace=store.root,
        requests=requests,
        record=record,
        proof=proof,
        purged=purged,
        report=report,
        seconds=time.perf_counter() - started,
    )


def _purge(store: Store, record: BuildRecord) -> "Purged":
    from starsmith.purge import purge

    return purge(store, record)


def _released(store: Store) -> BuildRecord:
    record = read_build(store)
    if record.release is None:
        raise StarsmithError(
            f"The last build of {store.root} stopped after {record.until!r}; there is no release to remove anything "
            "from. Run `starsmith build` to the end, which honours the opt-out list."
        )
    return record


@contextmanager
def _engine(store: Store, *, workers: int, spark: SparkOptions | None) -> Iterator[Engine]:
    with store.scratch() as spill, ExitStack() as open_until_done:
        engine = LocalEngine(workers=workers, spill=spill) if spark is None else _on_spark(spark, store, spill)
        open_until_done.callback(engine.close)
        yield engine


def _on_spark(options: SparkOptions, store: Store, spill: str) -> Engine:
    try:
        from starsmith.engines.spark import SparkEngine
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("starsmith"):
            raise
        raise StarsmithError(f"{error}; Spark needs it. Run `pip install 'starsmith[spark]'`.") from error
    return SparkEngine.start(options, store=store, witness=FORMAT_FILE, spill=spill)


def _prepare(engine: Engine, record: BuildRecord) -> None:
    """Start the workers of a removal, which looks at all documents and changes few."""
    documents = sum(part.rows for part in record.tables.get("documents", ()))
    engine.prepare(workers=1 + documents // DOCUMENTS_PER_WORKER, modules=["starsmith.pipeline"])


def _run(
    store: Store,
    engine: Engine,
    recipe: Recipe,
    *,
    until: str,
    reporter: Reporter,
    stored: BuildRecord | None = None,
) -> BuildRecord:
    """Build from the sources or, with `stored`, from the tables of the last build; write the record of it."""
    from starsmith.pipeline import Pipeline

    builder = Builder(store=store, engine=engine, reporter=reporter)
    record = Pipeline(recipe=recipe, builder=builder, workers=engine.workers, until=until, stored=stored).run()
    write_build(store, record)
    return record


def _report(store: Store, *, anew: bool = False) -> str:
    """Write the report, unless there is one that is newer than the record it tells of; return where it is."""
    from starsmith.govern.report import REPORT_FILE, write_own_report

    if anew or (store.changed(REPORT_FILE) or 0) < (store.changed(BUILD_FILE) or 0):
        write_own_report(store)
    return store.path(REPORT_FILE)


def status(workspace: Path | str) -> Status:
    """Say what the last build of a workspace did and what building again would do."""
    from starsmith.integrity import missing_or_cut

    store = open_store(workspace, create=False)
    record = read_build(store)
    pending, found = _pending(store, record)
    damaged = missing_or_cut(store, record)
    return Status(
        workspace=store.root,
        address=store.uri,
        record=record,
        pending=pending,
        opt_outs=_opt_outs(store, record),
        damaged=tuple(dict.fromkeys([*damaged, *found])),
    )


def _opt_outs(store: Store, record: BuildRecord) -> OptOutCounts:
    from starsmith import removal

    try:
        rule = loads(record.recipe, base=Path(record.base), name="the recipe of the last build").opt_out.copies
    except StarsmithError:
        # A recipe of another version; that it cannot be built again is told where that is looked at.
        rule = OptOutSettings().copies
    return OptOutCounts(
        requests=len(read_opt_outs(store).requests),
        pending=len(removal.pending(store, rule, record)),
        withdrawn=removal.withdrawn(store),
    )


def _pending(store: Store, record: BuildRecord) -> tuple[str | None, tuple[str, ...]]:
    """Plan the last recipe again without running anything; also return what was found damaged."""
    from starsmith.pipeline import Pipeline

    try:
        recipe = loads(record.recipe, base=Path(record.base), name="the recipe of the last build")
        with _engine(store, workers=1, spark=None) as engine:
            builder = Builder(store=store, engine=engine, reporter=Quiet(), plan=True)
            Pipeline(recipe=recipe, builder=builder, workers=1, until=record.until).run()
    except WouldRun as found:
        return f"{found.stage}: {found.pending} of {found.items} pieces of work, and what follows from them", ()
    except Damage as error:
        return f"fail: {error}", (str(error),)
    except StarsmithError as error:
        return f"fail: {error}", ()
    return None, ()
