"""Notebooks of Kaggle against the template of section 8.2."""

from starsmith.format.kaggle import DataSet, KaggleScript, Table, segments
from starsmith.format.sentinels import shown

DATA_SET = DataSet(identifier="acme/sales", title="title", description="description")


def table(path):
    return Table(path=path, info="INFO", rows=("row1", "row2", "row3", "row4", "row5"))


def test_template():
    script = KaggleScript(code="code", data_set=DATA_SET, tables=(table("'a.csv'"), table("P")), document_id=b"k")
    assert shown(segments(script)) == (
        "<jupyter_start><jupyter_text>title\ndescription\nKaggle dataset identifier: acme/sales"
        "<jupyter_code>import pandas as pd\n\ndf = pd.read_csv('a.csv')\ndf.info()<jupyter_output>INFO"
        "<jupyter_text>Examples:\nrow1\nrow2\nrow3\nrow4"
        "<jupyter_code>import pandas as pd\n\ndf = pd.read_csv(P)\ndf.info()<jupyter_output>INFO"
        "<jupyter_text>Examples:\nrow1\nrow2\nrow3\nrow4"
        "<jupyter_script>code<|endoftext|>"
    )


def test_without_a_data_set():
    script = KaggleScript(code="code", data_set=None, tables=(), document_id=b"k")
    assert shown(segments(script)) == "<jupyter_script>code<|endoftext|>"
