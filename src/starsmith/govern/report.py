"""The report: one HTML file about the latest build of a workspace, for whoever asks what is in a corpus and why.

It is written whole or not at all, and holds nothing of this machine but the name of the workspace's folder.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from starsmith.errors import StarsmithError
from starsmith.govern import opt_out
from starsmith.govern.composition import Composition, recipe_of
from starsmith.govern.report_page import Report, page
from starsmith.govern.report_sections import sections
from starsmith.storage import Store
from starsmith.workspace import read_build

REPORT_FILE: Final = "report.html"


def write_report(store: Store, out: Path) -> None:
    """Write the report of the latest build to the file `out`.

    Raises StarsmithError if the build stopped before its decisions, or the file cannot be written.
    """
    _publish(_text(store), out)


def write_own_report(store: Store) -> None:
    """Write the report of the latest build into its workspace, otherwise like `write_report`."""
    data = _text(store).encode()
    with store.spool() as file:
        file.write(data)
        # Even where nothing in it has changed: its time says that it is newer than the build.
        store.publish(file, REPORT_FILE)


def _text(store: Store) -> str:
    record = read_build(store)
    report = Report(
        workspace=Path(store.root).name,
        composition=Composition.of_build(store, record),
        record=record,
        recipe=recipe_of(record),
        requests=len(opt_out.read(store).requests),
    )
    return page(report, sections(report))


def _publish(text: str, out: Path) -> None:
    """Replace `out` in one step: somebody may be looking at the last one."""
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, out)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StarsmithError(f"The report {out} cannot be written: {error.strerror}. Choose another file.") from error
