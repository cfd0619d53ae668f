"""The annotate pass on one core: contents of a workspace in, annotations out.

    taskset -c 1 python benchmarks/annotate.py WORKSPACE [--megabytes 200]

WORKSPACE is one that `starsmith build` made. Contents are read and annotated as a worker does it, but in this process
and without writing anything. The time of licence detection is told apart, because it depends on how many licence texts
a corpus has and not on its size. Processor time counts; kernels are compiled before. The same measures in plain Python
are what `text_statistics.py` compares with.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from starsmith import annotate
from starsmith.annotate_rows import names_of
from starsmith.curate import licence
from starsmith.document import ID_BYTES
from starsmith.settings import LanguageSettings, LicenceSettings, NearDuplicateSettings
from starsmith.workspace import open_store, read_build

SETTINGS = annotate.AnnotateSettings(
    language=LanguageSettings(),
    licence=LicenceSettings(),
    near_duplicates=NearDuplicateSettings(),
    hex_spaces=False,
)


class Stopwatch:
    """Adds up the processor time of the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.process_time() - started

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the annotate pass on the contents of a workspace.")
    parser.add_argument("workspace", help="a workspace that `starsmith build` made")
    parser.add_argument("--megabytes", type=float, default=200.0, help="stop after this much content (default: 200)")
    arguments = parser.parse_args()
    store = open_store(arguments.workspace, create=False)
    tables = read_build(store).tables
    documents = {part.shard: part for part in tables["documents"]}
    annotate.warm(SETTINGS)
    licences = Stopwatch()
    licence.header_statements = licences.wrap(licence.header_statements)
    annotate._statements = licences.wrap(annotate._statements)
    nothing = pa.chunked_array([], pa.binary(ID_BYTES))
    size, rows, text, seconds = 0, 0, 0, 0.0
    for part in tables["contents"]:
        names = names_of(store, documents[part.shard])
        for batch in annotate._content_batches(store, part, nothing):
            started = time.process_time()
            annotated = annotate.annotate_batch(batch, shard=part.shard, names=names, settings=SETTINGS)
            seconds += time.process_time() - started
            size, rows = size + batch["content"].nbytes, rows + batch.num_rows
            readable = annotated.texts["reason"].is_null().to_pylist()
            lengths = [len(value) for value in batch["content"].to_pylist()]
            text += sum(length for length, keeps in zip(lengths, readable, strict=True) if keeps)
        if size >= arguments.megabytes * 1e6:
            break
    rest = seconds - licences.seconds
    print(f"{rows:,} contents, {size / 1e6:.0f} MB, of which {text / 1e6:.0f} MB are text")
    print(f"all columns but licence detection: {rest:.2f} CPU s, {text / 1e6 / rest:.1f} MB of text per CPU second")
    print(f"licence detection: {licences.seconds:.2f} CPU s, {1e6 * licences.seconds / rows:.0f} µs a content")
    print(f"everything: {seconds:.2f} CPU s, {text / 1e6 / seconds:.1f} MB of text per CPU second")


if __name__ == "__main__":
    main()
