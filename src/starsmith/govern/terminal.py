"""Terminal: the tables after a build and of `starsmith status`, on standard output, readable at 80 columns.

Names come from outside, so all text is printed as text: no markup of rich's, no control characters.
"""

import io
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from starsmith.errors import StarsmithError, StoreFault
from starsmith.govern.composition import Composition, Row, name_of, reason_words
from starsmith.govern.foreign_text import counted, seconds, share, shortened, size, visible
from starsmith.govern.scan_words import kind_words
from starsmith.object_store import is_uri
from starsmith.storage import Store
from starsmith.verdict import KEEP
from starsmith.workspace import BuildRecord, StageReport

_GROUPS: Final = 5
_NOTES: Final = 5
_LONGEST_NAME: Final = 28


class Built(Protocol):
    """A finished build; `seconds` on the wall, `report` where its report lies, if it has one."""

    @property
    def workspace(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def record(self) -> BuildRecord: ...
    @property
    def seconds(self) -> float: ...
    @property
    def report(self) -> str | None: ...


class OptOutCounts(Protocol):
    """How many requests to be left out there are, how many wait for the next build, how many releases are withdrawn."""

    @property
    def requests(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def withdrawn(self) -> int: ...


class Standing(Protocol):
    """How a workspace stands; `pending` is what building again would do first."""

    @property
    def workspace(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def record(self) -> BuildRecord: ...
    @property
    def pending(self) -> str | None: ...
    @property
    def opt_outs(self) -> OptOutCounts: ...


def build_table(result: Built) -> None:
    """Print what a build did, what is in the corpus and what is not, and where to look next."""
    console = _console()
    record = result.record
    composition = _composition(result.address, record)
    console.print()
    console.print(_stages(record.stages))
    if composition is not None:
        _print_composition(console, composition)
    _print_notes(console, record.notes)
    ran = sum(stage.ran for stage in record.stages)
    done = f"{ran:,} pieces of work" if ran else "nothing was left to do"
    _line(console, "Time", f"{seconds(result.seconds)}, {record.workers} workers, {done}")
    _print_moved(console, record.stages)
    if record.release is not None:
        _line(console, "Release", _nearest(f"{result.workspace}/{record.release}"))
    if result.report is not None:
        _line(console, "Report", _nearest(result.report))
    _print_next(console, _nearest(result.address), record, composition)


def status_table(status: Standing) -> None:
    """Print every stage of the last build, its reasons, and what building again would do."""
    console = _console()
    record = status.record
    composition = _composition(status.address, record)
    _line(
        console, "Workspace", f"{_nearest(status.workspace)}, profile {record.profile}, last built up to {record.until}"
    )
    console.print()
    console.print(_stages(record.stages))
    if composition is not None:
        _print_composition(console, composition)
    _print_notes(console, record.notes)
    _line(console, "Engine", _engine(record))
    _print_moved(console, record.stages)
    if record.release is not None:
        _line(console, "Release", _nearest(f"{status.workspace}/{record.release}"))
    asked = status.opt_outs
    if asked.requests or asked.withdrawn:
        waiting = f"{asked.pending:,} of them waiting for the next build"
        _line(console, "Opt-outs", f"{asked.requests:,} on the list, {waiting}; {asked.withdrawn:,} releases withdrawn")
    _line(console, "A re-run", f"would do {status.pending}" if status.pending else "would do nothing")


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that this terminal's encoding lacks is spelled out; it does not end the program.
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(highlight=False, markup=False, emoji=False)


def _line(console: Console, what: str, text: str) -> None:
    """Print one labelled line, never broken: a path is there to be copied."""
    console.print(Text.assemble((f"{what:<10}", "bold"), visible(text)), soft_wrap=True)


def _table(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=bool(number))
    return table


def _stages(stages: Iterable[StageReport]) -> Table:
    table = _table("Stage", "In", "Kept", "Dropped", "Time", "Work")
    for stage in stages:
        dropped = stage.documents_in - stage.kept
        table.add_row(
            stage.name,
            f"{stage.documents_in:,}",
            f"{stage.kept:,}",
            f"{dropped:,}" if dropped else "",
            seconds(stage.seconds),
            f"{stage.ran:,} of {stage.items:,}" if stage.ran else "reused",
        )
    return table


def _engine(record: BuildRecord) -> str:
    workers = counted(record.workers, "worker")
    return f"{record.engine}, {workers}" + (f" on {record.executors:,} executors" if record.executors > 1 else "")


_MOVED: Final = {
    "spilled_memory": "spilled from memory",
    "spilled_disk": "spilled to disk",
    "shuffle_written": "shuffle written",
    "shuffle_read": "shuffle read",
}


def _print_moved(console: Console, stages: Iterable[StageReport]) -> None:
    """Print which stages spilled or shuffled, if any."""
    some = [stage for stage in stages if stage.moved]
    if some:
        table = _table("Bytes moved in", *(words for name, words in _MOVED.items() if _any(some, name)))
        for stage in some:
            numbers = [stage.moved.get(name, 0) for name in _MOVED if _any(some, name)]
            table.add_row(stage.name, *(size(number) if number else "" for number in numbers))
        console.print(table)


def _any(stages: Iterable[StageReport], name: str) -> bool:
    return any(name in stage.moved for stage in stages)


def _print_composition(console: Console, composition: Composition) -> None:
    table = _table("Dropped because", "Reason", "Documents", "Bytes")
    table.columns[1].justify = "left"
    for row in composition.left_out():
        words = Text(reason_words(row["verdict"]))
        table.add_row(words, row["verdict"], f"{row['documents']:,}", size(row["bytes"]))
    if table.row_count:
        console.print(table)
    kept, documents = composition.kept_documents, composition.documents
    volume = f"{size(composition.kept_bytes)} of {size(composition.bytes)}"
    _line(console, "Kept", f"{kept:,} of {documents:,} documents ({share(kept, documents)}), {volume}")
    _line(console, "Languages", _largest(composition.languages, "language", composition.kept_bytes))
    _line(console, "Licences", _largest(composition.licences, "license_expression", composition.kept_bytes))
    if composition.conflicts:
        _line(console, "Conflicts", f"{composition.conflicts:,} contents lie under licences of different kinds")
    _print_scans(console, composition)


def _print_scans(console: Console, composition: Composition) -> None:
    """Print what the scans found: counts by kind, by benchmark and by signature."""
    values, documents = composition.replaced_in_all
    if values:
        kinds = [
            f"{row['findings']:,} {kind_words(row['kind'], row['findings'])}" for row in composition.replaced_kinds
        ]
        _line(console, "Replaced", f"{values:,} values in {documents:,} documents: {_first(kinds)}")
    elif composition.scanned:
        _line(console, "Replaced", f"nothing in {composition.scanned:,} contents scanned")
    if composition.benchmarks:
        told = [
            f"{shortened(row['benchmark'], _LONGEST_NAME)} in {row['documents']:,} ({row['kind']})"
            for row in composition.benchmarks
        ]
        _line(console, "Problems", f"of benchmarks, found in documents: {_first(told)}")
    if composition.signatures:
        told = [
            f"{shortened(row['signature'], _LONGEST_NAME)} in {row['documents']:,}" for row in composition.signatures
        ]
        _line(console, "Malware", f"found in documents: {_first(told)}")


def _first(told: list[str]) -> str:
    rest = [f"{len(told) - _GROUPS} more"] if len(told) > _GROUPS else []
    return ", ".join(told[:_GROUPS] + rest)


def _largest(rows: list[Row], column: str, whole: int) -> str:
    """Return the groups with most bytes kept, in percent."""
    kept = [row for row in rows if row["kept_documents"]]
    shown = [
        f"{shortened(row[column] or 'none', _LONGEST_NAME)} {share(row['kept_bytes'], whole)}" for row in kept[:_GROUPS]
    ]
    rest = [f"{len(kept) - _GROUPS} more"] if len(kept) > _GROUPS else []
    return ", ".join(shown + rest) or "none"


def _print_notes(console: Console, notes: tuple[str, ...]) -> None:
    for note in notes[:_NOTES]:
        _line(console, "Note", note)
    if len(notes) > _NOTES:
        _line(console, "Note", f"and {len(notes) - _NOTES:,} more; all of them are in the report")


def _print_next(console: Console, workspace: str, record: BuildRecord, composition: Composition | None) -> None:
    console.print()
    if composition is None:
        console.print(Text("The build stopped before its decisions. Run it without --until to go on."), soft_wrap=True)
        return
    commands = [
        ("why a document is in or out", f"starsmith why {shlex.quote(workspace)} {name}")
        for name in _asked(composition)
    ]
    commands.append(("what a re-run would do", f"starsmith status {shlex.quote(workspace)}"))
    if record.release is not None and not is_uri(workspace):
        commands.append(("how to load the corpus", f"less {shlex.quote(f'{workspace}/{record.release}/README.md')}"))
    console.print(Text("Try next", style="bold"))
    for words, command in commands:
        console.print(Text(f"  {command}  # {words}"), soft_wrap=True)


def _asked(composition: Composition) -> list[str]:
    """Return the name of one document that is worth asking about, quoted for a shell: the more there is to tell, the
    better. A name that cannot be typed as it is shown is passed over."""
    order = ("duplicate.near", "licence.conflict", "filter.", "duplicate.", "licence.", KEEP, "")
    names = [
        name_of(row)
        for wanted in order
        for row in composition.examples
        if row["verdict"].startswith(wanted) and visible(name_of(row)) == name_of(row)
    ]
    return [shlex.quote(names[0])] if names else []


def _composition(address: str, record: BuildRecord) -> Composition | None:
    """Return the numbers of a build, or None where it stopped before them."""
    try:
        return Composition.of_build(Store.at(address), record)
    except StoreFault:
        raise
    except StarsmithError:
        return None


def _nearest(path: str) -> str:
    """Return a path relative to where the user stands, if it lies below that."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
