"""Decontamination: documents that hold a text of a benchmark's problem.

Follows section 6 of the paper's data description: containment after lower-casing and removing white space, but for
four solutions that anybody writes; `automaton_search` looks for all texts at once. As an option, the share of a text's
runs of words (`word_overlap`), which finds copies that were edited. Fault 15 of section 12 (five benchmarks only, the
two sides normalised apart) is mended: any benchmark can be given, and both sides go through the same function.

Does not read benchmarks (`starsmith.benchmarks` does) and decides nothing about a document: matches are evidence.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from starsmith.curate import automaton, automaton_search, word_overlap
from starsmith.curate.automaton import Automaton
from starsmith.curate.automaton_search import Grams
from starsmith.curate.benchmark_texts import ProblemText
from starsmith.curate.kernel import Indices
from starsmith.curate.normal_form import normalised
from starsmith.curate.word_overlap import Runs
from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.settings import DecontaminationSettings

VERSION: Final = 1
"""Raised whenever equal texts, problems and settings may give other matches."""

_GENERIC_SOLUTIONS: Final = (b"return x + y", b"return len(string)", b"return n**2", b"return ''.join(strings)")

MATCHES: Final = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
    ]
)
"""document: number in the batch. field: prompt, docstring, solution or tests. kind: `text` (contained whole) or
`words` (its runs of words). position: the byte where the text, or the first of its runs, begins. share: of the text's
runs of words, 1.0 where it is contained whole."""

_ALIGNMENT: Final = 64
_PROBLEMS: Final = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("text", pa.int64(), nullable=False),
    ]
)
_ARRAYS: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Everything to look for. Built once, written to a file, and mapped by every process that scans.

    problems: benchmark, problem, field and the number of its text, sorted by that number; equal texts are one.
    digest: of the texts, their names, the settings and VERSION; equal digests give equal matches.
    grams: of the automaton; made anew from it rather than written.
    """

    settings: DecontaminationSettings
    digest: str
    problems: pa.Table
    automaton: Automaton | None
    grams: Grams | None
    runs: Runs | None

    @staticmethod
    def build(problems: Iterable[ProblemText], settings: DecontaminationSettings) -> "Index":
        """Return the index of the texts that `settings` ask for; the order of `problems` does not matter.

        Raises StarsmithError where nothing is left to look for: that would call every document clean.
        """
        wanted = [(normalised(p.text.encode()), p) for p in problems if _is_wanted(p, settings)]
        kept = {(text, p) for text, p in wanted if _is_telling(text, settings)}
        if not kept:
            raise StarsmithError(
                f"No benchmark text is left to look for: {len(wanted)} were read, all of them generic or shorter than "
                f"`min_length` = {settings.min_length}. Give benchmarks, or lower it."
            )
        ordered = sorted(kept, key=lambda pair: (pair[0], *dataclasses.astuple(pair[1])))
        originals = _originals(ordered)
        texts = sorted(originals)
        numbers = {text: number for number, text in enumerate(texts)}
        rows = sorted({(numbers[text], p.benchmark, p.problem, p.field) for text, p in ordered})
        built = automaton.build(texts) if settings.rule != "ngram" else None
        return Index(
            settings=settings,
            digest=fingerprint([VERSION, settings, rows, [originals[text] for text in texts]]),
            problems=_problem_table(rows),
            automaton=built,
            grams=automaton_search.grams_of(built) if built else None,
            runs=None
            if settings.rule == "paper"
            else word_overlap.build([originals[text].encode() for text in texts], n=settings.ngram),
        )

    def to_bytes(self) -> bytes:
        """Return the index as one Arrow stream after another; `from_buffer` reads it back without a copy."""
        sink = pa.BufferOutputStream()
        about = {
            "version": str(VERSION),
            "digest": self.digest,
            "settings": json.dumps(dataclasses.asdict(self.settings)),
        }
        _write(sink, self.problems.replace_schema_metadata(about))
        _write(sink, _array_table({"automaton": self.automaton, "runs": self.runs}))
        return bytes(sink.getvalue())

    @staticmethod
    def from_buffer(buffer: pa.Buffer) -> "Index":
        """Return the index that lies in `buffer`, which may be a mapped file; its arrays are views of it.

        Raises StarsmithError for a buffer that is no index of this version.
        """
        try:
            source = pa.BufferReader(buffer)
            problems = pa.ipc.open_stream(source).read_all()
            arrays = pa.ipc.open_stream(source).read_all()
            about = {key.decode(): value.decode() for key, value in (problems.schema.metadata or {}).items()}
            if about.get("version") != str(VERSION):
                raise StarsmithError(
                    f"A decontamination index of version {about.get('version')} cannot be used; build it again."
                )
            built = _from_arrays(Automaton, "automaton", arrays)
            return Index(
                settings=DecontaminationSettings(**json.loads(about["settings"])),
                digest=about["digest"],
                problems=problems.replace_schema_metadata(None),
                automaton=built,
                grams=automaton_search.grams_of(built) if built else None,
                runs=_from_arrays(Runs, "runs", arrays),
            )
        except pa.ArrowException as error:
            raise StarsmithError(f"This is not a decontamination index: {error}; build it again.") from None


def scan(texts: pa.LargeBinaryArray, index: Index) -> pa.Table:
    """Return the MATCHES of `texts` (UTF-8, no nulls), in the order of document, position, kind and problem.

    A document has one row at most for each problem, field and kind. Texts of a batch do not influence each other.
    """
    parts = [MATCHES.empty_table()]
    if index.automaton is not None and index.grams is not None:
        found = automaton_search.find(texts, index.automaton, index.grams)
        ones = np.ones(len(found.texts))
        parts.append(_matches(index, "text", found.documents, found.texts, found.positions, ones))
    if index.runs is not None:
        shared = word_overlap.find(texts, index.runs, share=index.settings.ngram_share)
        shares = shared.counts / np.maximum(1, index.runs.totals[shared.texts])
        parts.append(_matches(index, "words", shared.documents, shared.texts, shared.positions, shares))
    order = [(name, "ascending") for name in ("document", "position", "kind", "benchmark", "problem", "field")]
    return pa.concat_tables(parts).sort_by(order).combine_chunks()


def _is_wanted(problem: ProblemText, settings: DecontaminationSettings) -> bool:
    return {"solution": settings.solutions, "tests": settings.tests}.get(problem.field, True)


@cache
def generic_solutions() -> frozenset[bytes]:
    """Return the solutions that are no sign of a copy (section 6), normalised.

    On demand: the first kernel to run in a process takes it 0.3 s, which who looks for no copy should not wait for.
    """
    return frozenset(map(normalised, _GENERIC_SOLUTIONS))


def _is_telling(text: bytes, settings: DecontaminationSettings) -> bool:
    return bool(text) and len(text) >= settings.min_length and text not in generic_solutions()


def _originals(ordered: list[tuple[bytes, ProblemText]]) -> dict[bytes, str]:
    """Return one original for each normalised text, the first in text order: words need their white space."""
    originals: dict[bytes, str] = {}
    for text, problem in ordered:
        originals[text] = min(originals.get(text, problem.text), problem.text)
    return originals


def _problem_table(rows: list[tuple[int, str, str, str]]) -> pa.Table:
    text, benchmark, problem, field = zip(*rows, strict=True)
    return pa.table([benchmark, problem, field, pa.array(text, pa.int64())], schema=_PROBLEMS)


def _matches(
    index: Index, kind: str, documents: Indices, texts: Indices, positions: Indices, shares: npt.NDArray[np.float64]
) -> pa.Table:
    """Return one row for each problem that a found text belongs to; equal texts of one part of a problem are one."""
    numbers = index.problems["text"].to_numpy()
    first, last = np.searchsorted(numbers, texts), np.searchsorted(numbers, texts, side="right")
    source = np.repeat(np.arange(len(texts)), last - first)
    rows = np.arange(len(source)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[source]
    named = index.problems.take(pa.array(rows))
    columns = [
        pa.array(documents[source]),
        *(named[name] for name in ("benchmark", "problem", "field")),
        pa.array([kind] * len(source), pa.string()),
        pa.array(positions[source]),
        pa.array(shares[source]),
    ]
    return _best(pa.table(columns, schema=MATCHES))


def _best(matches: pa.Table) -> pa.Table:
    """Return one row for each document, problem and field: the largest share, the first of equals.

    One field can hold several texts, and one text may be a part of another.
    """
    keys = ["document", "benchmark", "problem", "field"]
    ordered = matches.sort_by(
        [*((key, "ascending") for key in keys), ("share", "descending"), ("position", "ascending")]
    )
    best = ordered.group_by(keys, use_threads=False).aggregate(
        [(name, "first") for name in ("kind", "position", "share")]
    )
    return pa.table(best.columns, schema=MATCHES)


def _write(sink: pa.BufferOutputStream, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _array_table(parts: dict[str, Any]) -> pa.Table:
    """Return the arrays of dataclasses as rows. Each is padded, so that the next begins where a processor likes it."""
    rows = [
        (f"{name}.{field.name}", array.dtype.str, len(array), array.tobytes() + bytes(-array.nbytes % _ALIGNMENT))
        for name, part in parts.items()
        if part is not None
        for field in dataclasses.fields(part)
        for array in [getattr(part, field.name)]
    ]
    return pa.table(list(map(list, zip(*rows, strict=True))), schema=_ARRAYS)


def _from_arrays(kind: Callable[..., Any], name: str, table: pa.Table) -> Any:
    arrays = {
        row_name.partition(".")[2]: np.frombuffer(data.as_buffer(), np.dtype(dtype), int(length))
        for row_name, dtype, length, data in zip(
            table["name"].to_pylist(),
            table["type"].to_pylist(),
            table["length"].to_pylist(),
            table["data"],
            strict=True,
        )
        if row_name.partition(".")[0] == name
    }
    return kind(**arrays) if arrays else None
