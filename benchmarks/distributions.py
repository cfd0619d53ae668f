"""The distributions that narrow tables follow, and the program that measured them.

python benchmarks/distributions.py WORKSPACE       # of a real build: prints them
"""

import json
import sys
from pathlib import Path

AT = (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)
"""Where the quantiles below stand."""
LENGTH = (1, 21, 58, 123, 303, 605, 912, 1319, 1938, 3022, 5184, 11339, 23045, 51268, 85975, 2_200_554)
SHINGLES_PER_BYTE = (
    *(1e-5, 0.0366, 0.0482, 0.0602, 0.0749, 0.0846, 0.093, 0.1013),
    *(0.1093, 0.1181, 0.1271, 0.138, 0.1472, 0.1591, 0.1688, 0.4375),
)
MEAN_LINE = (0.5, 8.7, 12.5, 15.8, 20.9, 24.8, 27.8, 30.3, 32.7, 35, 38.5, 45.5, 54.3, 68.8, 86.5, 1788)
LONGEST_LINE = (1, 13, 27, 41, 62, 75, 80, 90, 103, 114, 123, 145, 190, 306, 469, 4898)
LETTERS = (0, 0.333, 0.461, 0.515, 0.565, 0.602, 0.635, 0.666, 0.693, 0.722, 0.747, 0.778, 0.8, 0.827, 0.857, 1)
SIMILARITY = (0.65, 0.66, 0.68, 0.7, 0.73, 0.76, 0.79, 0.81, 0.83, 0.845, 0.86, 0.89, 0.94, 0.97, 0.99, 1)
"""Of a member to the base of its family; that of two members is about the product. The upper third gives pairs at 0.7
and above, as near-duplicates are to their winners (median 0.77); the rest shares buckets and is kept, as two thirds of
the documents in buckets are."""
ORIGIN_DOCUMENTS = (10, 10, 11, 12, 22, 45, 65, 88, 148, 337, 653, 887, 1250, 1962, 2200, 2437)
LANGUAGES = (
    *(("Java", "java", 0.157), ("Scala", "scala", 0.156), ("C#", "cs", 0.097), (None, "bin", 0.093)),
    *(("Ruby", "rb", 0.06), ("PHP", "php", 0.049), ("Kotlin", "kt", 0.047), ("XML", "xml", 0.041)),
    *(("C", "c", 0.037), ("Markdown", "md", 0.029), ("Rust", "rs", 0.023), ("Python", "py", 0.173)),
    *(("YAML", "yaml", 0.018), ("JSON", "json", 0.015), ("Text", "txt", 0.005)),
)
"""Language, extension and share of the documents; the rest is counted as Python, the quickstart's."""
BINARY, TOO_SHORT, HEADER = 0.014, 0.05, 0.30
"""Shares of contents that are no text, have no signature, or state a licence of their own."""
DOCUMENTS_PER_FOLDER = 5
STATED = (("MIT", 0.42), ("Apache-2.0", 0.3), ("BSD-3-Clause", 0.1), ("GPL-3.0-only", 0.08), (None, 0.1))
"""What origins state in their root folder. Of 17 two were not permissive; none stated nothing, which is assumed."""
IN_FAMILIES = 0.28
"""Share of the contents; it leaves about as many in shared buckets as there were: 12,441 of 48,237."""
FAMILIES, FAMILY_TAIL = 0.03, 2.0
"""Families per document, and how steep their sizes fall: the largest cluster of 48,237 candidates had 673 members."""

COPIED, POPULAR, POPULAR_TAIL = 0.3, 0.08, 3.0
TWINS = 0.03
"""Assumed: 30 % of documents are copies of popular contents, of which there are 8 per 100 documents; the most popular
one is 0.7 % of 10^6 documents, as the empty file is of the 17 repositories. 3 % of origins are copies of another."""


def measure(workspace: Path) -> None:
    """Print the distributions of a real build."""
    import duckdb

    tables = json.loads((workspace / "build.json").read_bytes())["tables"]
    connection = duckdb.connect()
    for name, parts in tables.items():
        files = [str(workspace / part["name"]) for part in parts if part["name"].endswith(".parquet")]
        if files:
            connection.read_parquet(files, hive_partitioning=False).create_view(name)
    some, at = "FROM facts WHERE reason IS NULL AND length > 0", f"[{', '.join(map(str, AT))}]"
    by = "FROM documents GROUP BY"
    columns = ("length", "num_shingles / length", "avg_line_length", "max_line_length", "alpha_fraction")
    queries = {column: f"SELECT quantile_cont({column}, {at}) {some}" for column in columns} | {
        "similarity": f"SELECT quantile_cont(similarity, {at}) FROM near WHERE winner_id IS NOT NULL",
        "documents of origins": f"SELECT quantile_cont(n, {at}) FROM (SELECT count(*) AS n {by} origin_id)",
        "documents of a folder": f"SELECT avg(n) FROM (SELECT count(*) AS n {by} origin_id, folder)",
        "no signature, no text": "SELECT avg((shingle_row IS NULL)::INT), avg((reason IS NOT NULL)::INT) FROM facts",
        "languages": "SELECT language, count(*) FROM facts GROUP BY 1 ORDER BY 2 DESC LIMIT 15",
        "licences": "SELECT license_type, license_method, count(*) FROM facts GROUP BY ALL ORDER BY 3 DESC",
        "copies, contents": f"SELECT n, count(*) FROM (SELECT count(*) AS n {by} content_id) GROUP BY 1 ORDER BY 1",
        "size, clusters": "SELECT size, clusters FROM cluster_sizes ORDER BY 1",
        "in buckets, dropped": "SELECT count(*), count(winner_id) FROM near",
        "verdicts": "SELECT verdict, count(*) FROM ledger GROUP BY 1 ORDER BY 2 DESC",
    }
    for name, query in queries.items():
        print(name, *connection.sql(query).fetchall())


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
