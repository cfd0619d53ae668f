"""Detectors: what the contents that may be released are scanned with, known before any of them is read.

A benchmark that is missing, a clamd that is down or has no signatures ends a build before it begins. What each
detector finds stands in `curate`; `scan` runs them.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from starsmith import benchmarks
from starsmith.builder import Builder
from starsmith.curate import decontaminate, redact
from starsmith.curate.decontaminate import Index
from starsmith.curate.malware import EICAR, Scanner
from starsmith.document import BENCHMARK_MATCHES
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.plain_file import read_plain
from starsmith.recipe import Recipe
from starsmith.settings import DecontaminationSettings, MalwareSettings, RedactionSettings
from starsmith.storage import Store
from starsmith.table import Part, Table
from starsmith.workspace import BuildRecord

VERSION = 2
"""Raised whenever equal contents and settings may give other rows."""

DETECTORS = ("redaction", "decontamination", "malware")
_IDLE = "-"


@dataclass(frozen=True, kw_only=True)
class Detectors:
    """What contents are scanned with. `index` is the part that holds the benchmarks' texts, `database` the malware
    signatures in words; each is None where it is not looked for. `newer` lets signatures that are not those of
    `database` scan what is left to scan: no removal waits for the whole corpus to be scanned again.
    """

    redaction: RedactionSettings
    decontamination: DecontaminationSettings
    index: Part | None = None
    malware: MalwareSettings | None = None
    probe: bytes = b""
    database: str | None = None
    newer: bool = False

    @cached_property
    def at_work(self) -> frozenset[str]:
        """Which of DETECTORS look at contents."""
        idle = {"decontamination": self.index is None, "malware": self.malware is None}
        return frozenset(name for name in DETECTORS if not idle.get(name))

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that a row of SCANS depends on beside the content: a word for each of DETECTORS."""
        most = None if self.malware is None else self.malware.max_bytes
        given = {
            "redaction": [redact.DETECTOR_VERSION, self.redaction],
            "decontamination": [decontaminate.VERSION, self.index and self.index.digest, self.decontamination],
            "malware": [most, self.database],
        }
        return " ".join(fingerprint([VERSION, given[name]]) if name in self.at_work else _IDLE for name in DETECTORS)

    def is_equal(self, other: str, number: int) -> bool:
        """Whether what one of DETECTORS found under another fingerprint is what it would find again."""
        own, words = self.fingerprint.split(" "), other.split(" ")
        # A workspace of an earlier version has one word.
        return len(words) == len(own) and words[number] == own[number]

    def versions(self) -> dict[str, str]:
        """Return the versions of what scans, for the manifest; the index is known by its digest."""
        versions = {"scan": str(VERSION), "redaction": redact.DETECTOR_VERSION}
        if self.index is not None:
            versions["decontamination"] = str(decontaminate.VERSION)
        if self.database is not None:
            versions["malware"] = self.database
        return versions


def detectors_of(builder: Builder, recipe: Recipe) -> Detectors:
    """Return what a recipe has contents scanned with; asks clamd which signatures it has.

    Raises StarsmithError for a benchmark that cannot be read and a clamd that cannot be relied on.
    """
    malware = recipe.malware if recipe.malware.clamd else None
    probe = _probe(recipe) if malware is not None else b""
    database = None
    if malware is not None:
        with Scanner(malware, probe=probe) as scanner:
            database = database_of(scanner, malware)
    return Detectors(
        redaction=recipe.redaction,
        decontamination=recipe.decontamination,
        index=_benchmark_index(builder, recipe) if recipe.benchmarks else None,
        malware=malware,
        probe=probe,
        database=database,
    )


def detectors_of_build(builder: Builder, recipe: Recipe, record: BuildRecord) -> Detectors:
    """Return what the last build scanned with. Neither the benchmarks' files nor, until something is left to scan,
    clamd are needed."""
    index = record.tables.get("benchmark_index", ())
    if index:
        builder.tables["benchmark_index"] = Table(name="benchmark_index", schema=index_schema(), parts=index)
        builder.records += [name for name in record.records if name.startswith("records/benchmark_index/")]
    malware = recipe.malware if recipe.malware.clamd else None
    probe = recipe.malware.probe
    return Detectors(
        redaction=recipe.redaction,
        decontamination=recipe.decontamination,
        index=index[0] if index else None,
        malware=malware,
        # A probe that is gone is an error only where something is scanned: clamd would call an empty one clean.
        probe=_probe(recipe) if not probe or (recipe.base / Path(probe).expanduser()).is_file() else b"",
        database=record.versions.get("malware"),
        newer=True,
    )


def database_of(scanner: Scanner, settings: MalwareSettings) -> str:
    """Return the signature database in words that change whenever it does.

    Raises StarsmithError where nobody would notice: rows of older signatures would then pass for today's.
    """
    if scanner.database.built is not None:
        return str(scanner.database)
    if not settings.signatures:
        raise StarsmithError(
            f"clamd at {settings.clamd} has signatures without a date, so a change of them cannot be noticed. Give "
            "their state a name, as `signatures` in [malware], and another one when they change."
        )
    return f"{scanner.database} {settings.signatures}"


def _probe(recipe: Recipe) -> bytes:
    if not recipe.malware.probe:
        return EICAR
    path = recipe.base / Path(recipe.malware.probe).expanduser()
    what = f"The `probe` of [malware], {path},"
    return read_plain(path, name=what, expected="a file that clamd must find", most=recipe.malware.max_bytes)


def _benchmark_index(builder: Builder, recipe: Recipe) -> Part:
    """Return the part that holds the index of the recipe's benchmarks, built once for equal files."""
    paths = {each.name: recipe.base / Path(each.path).expanduser() for each in recipe.benchmarks}
    # Where the files lie changes nothing.
    given = [[replace(each, path=""), benchmarks.digest(paths[each.name])] for each in recipe.benchmarks]
    key = fingerprint([VERSION, decontaminate.VERSION, pa.__version__, recipe.decontamination, given])

    def write(store: Store) -> Part:
        texts = [
            text
            for each in recipe.benchmarks
            for text in benchmarks.load(each.name, paths[each.name], layout=benchmarks.layout_of(each))
        ]
        index = Index.build(texts, recipe.decontamination)
        with store.spool() as file:
            file.write(index.to_bytes())
            name, digest, size = store.publish_digested(file, "tables/benchmark_index/{digest}.arrow")
        return Part(shard="", name=name, rows=index.problems.num_rows, bytes=size, digest=digest)

    return builder.make("benchmark_index", key, index_schema(), write).parts[0]


def index_schema() -> pa.Schema:
    """Return the schema of the rows that an index's part counts: one per text of a problem."""
    return pa.schema([BENCHMARK_MATCHES.field(name) for name in ("benchmark", "problem", "field")])
