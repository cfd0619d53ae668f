"""Kaggle notebooks: the data they read, shown as a notebook would, and then the script.

The template is that of section 8.2 of the paper's data description. A notebook without a known data set is its script
alone; 42 % have one, and the files of 8.6 % could be shown (3.3).
"""

from dataclasses import dataclass

from starsmith.format.sentinels import (
    END_OF_TEXT,
    JUPYTER_CODE,
    JUPYTER_OUTPUT,
    JUPYTER_SCRIPT,
    JUPYTER_START,
    JUPYTER_TEXT,
    Segments,
    with_document,
)

EXAMPLES = 4
"""8.2: rows that are shown of each table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A CSV file that the script reads. `path` is the argument of `read_csv` as the script writes it."""

    path: str
    info: str
    rows: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The data set a notebook belongs to."""

    identifier: str
    title: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KaggleScript:
    """A notebook of Kaggle, written as a script."""

    code: str
    data_set: DataSet | None
    tables: tuple[Table, ...]
    document_id: bytes


def segments(script: KaggleScript) -> Segments:
    """Return a notebook of Kaggle as it is trained on."""
    told: list[int | str] = []
    if script.data_set is not None:
        told += [JUPYTER_START, JUPYTER_TEXT, _heading(script.data_set)]
        for table in script.tables:
            told += _shown(table)
    return with_document([*told, JUPYTER_SCRIPT, script.code, END_OF_TEXT], script.document_id)


def _heading(data_set: DataSet) -> str:
    return f"{data_set.title}\n{data_set.description}\nKaggle dataset identifier: {data_set.identifier}"


def _shown(table: Table) -> list[int | str]:
    code = f"import pandas as pd\n\ndf = pd.read_csv({table.path})\ndf.info()"
    examples = "\n".join(("Examples:", *table.rows[:EXAMPLES]))
    return [JUPYTER_CODE, code, JUPYTER_OUTPUT, table.info, JUPYTER_TEXT, examples]
