"""Licences of a whole corpus: statements gathered, resolved per folder, and joined to documents.

What a file states is found by annotate, how statements of a folder go together by `curate.licence_decision`; this
module feeds the one into the other. Every statement of an origin meets in one task, whichever shards it came from.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from starsmith.builder import Builder
from starsmith.curate import licence_decision
from starsmith.curate.licence_manifests import value_expression
from starsmith.curate.licence_statements import rules_version
from starsmith.document import DOCUMENTS, LICENCE_STATEMENTS, ORIGINS
from starsmith.engines import Query
from starsmith.fingerprint import fingerprint
from starsmith.job import Outcome, Progress, Work
from starsmith.recipe import Recipe
from starsmith.settings import LicenceSettings
from starsmith.storage import Store
from starsmith.table import Part, Table, write_part

VERSION = 1

_SHARD = DOCUMENTS.field("shard")
_BUCKETED = LICENCE_STATEMENTS.append(pa.field("bucket", pa.string(), nullable=False))
_STATEMENT_COLUMNS = ", ".join(LICENCE_STATEMENTS.names)

BUCKET_STATEMENTS = 250_000
"""Statements that a task resolves at a time, on average: 250 MB as Python objects."""


def statements_query(statements: int) -> Query:
    """Put the statements of an origin into one bucket: at least sixteen of them, enough tasks for a laptop."""
    digits = 1
    while statements > BUCKET_STATEMENTS * 16**digits:
        digits += 1
    return Query(
        name="statements_by_origin",
        text=f"""
SELECT {_STATEMENT_COLUMNS}, lower(substr(hex(origin_id), 1, {digits})) AS bucket
FROM (
  SELECT {_STATEMENT_COLUMNS} FROM licence_statements
  UNION ALL
  SELECT {_STATEMENT_COLUMNS} FROM declared
) AS statements""",
        schema=_BUCKETED,
        key=LICENCE_STATEMENTS.names,
        partition_by="bucket",
    )


_STATED_QUERY = Query(
    name="stated_expressions",
    text="""
SELECT shard, licence AS expression FROM texts WHERE licence IS NOT NULL GROUP BY shard, licence
UNION
SELECT shard, gha_license_id AS expression FROM shard_origins
WHERE gha_license_id IS NOT NULL GROUP BY shard, gha_license_id""",
    schema=pa.schema([_SHARD, pa.field("expression", pa.string(), nullable=False)]),
    key=["shard", "expression"],
    partition_by="shard",
    per_shard=True,
)

_SHARD_FOLDERS_QUERY = Query(
    name="shard_folder_licences",
    text=f"""
SELECT shard_origins.shard, {", ".join("folder_licences." + name for name in licence_decision.FOLDER_LICENCES.names)}
FROM folder_licences
JOIN shard_origins ON shard_origins.origin_id = folder_licences.origin_id""",
    schema=pa.schema([_SHARD, *licence_decision.FOLDER_LICENCES]),
    key=["shard", "origin_id", "folder"],
    partition_by="shard",
    by="origin_id",
    base="shard_origins",
)
"""What is stated for the folders of each shard's origins, so that a shard's licences follow from what is its own."""


SHARD_ORIGINS_QUERY = Query(
    name="shard_origins",
    text=f"""
SELECT pairs.shard, {", ".join("origins." + name for name in ORIGINS.names)}
FROM (SELECT shard, origin_id FROM documents GROUP BY shard, origin_id) AS pairs
JOIN origins ON origins.origin_id = pairs.origin_id""",
    schema=pa.schema([_SHARD, *ORIGINS]),
    key=["shard", "origin_id"],
    partition_by="shard",
    by="origin_id",
    base="documents",
)
"""The origins of each shard: what a query that runs per shard reads in place of all origins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolveFolders:
    """Resolve the statements of one bucket of origins."""

    statements: Part
    settings: LicenceSettings

    def __str__(self) -> str:
        return f"licences of origins {self.statements.shard}…"

    def __call__(self, store: Store, *, attempt: int, progress: Progress) -> Outcome:
        rows = Table(name="statements_by_origin", schema=_BUCKETED, parts=(self.statements,)).read(store)
        resolved = licence_decision.resolve_folders(rows.drop_columns(["bucket"]), self.settings)
        progress(rows.num_rows)
        part = write_part(
            store, "folder_licences", licence_decision.FOLDER_LICENCES, [resolved], shard=self.statements.shard
        )
        return Outcome(parts={"folder_licences": (part,)})


def resolve(builder: Builder, recipe: Recipe) -> Table:
    """Return the LICENCES table of a build: one row per document."""
    tables = builder.tables
    declared = declared_statements(tables["origins"].read(builder.store, ["origin_id", "declared_license"]))
    stated_in = tables["licence_statements"]
    statements = builder.sql(statements_query(stated_in.rows), licence_statements=stated_in, declared=declared)
    works: list[tuple[str, Work]] = [
        (
            fingerprint([VERSION, rules_version(), pa.__version__, part.digest, recipe.licence]),
            ResolveFolders(statements=part, settings=recipe.licence),
        )
        for part in statements.parts
    ]
    schemas = {"folder_licences": licence_decision.FOLDER_LICENCES}
    folders = builder.map("folder licences", works, schemas, total=statements.rows)["folder_licences"]
    of_shards = builder.query(SHARD_ORIGINS_QUERY)
    stated = builder.sql(_STATED_QUERY, texts=tables["texts"], shard_origins=of_shards).read(builder.store)
    return builder.sql(
        Query(
            name="licences",
            text=licence_decision.licences_query(recipe.licence),
            schema=licence_decision.LICENCES,
            key=["document_id"],
            partition_by="shard",
            per_shard=True,
        ),
        documents=tables["documents"],
        folders=tables["folders"],
        folder_licences=builder.sql(_SHARD_FOLDERS_QUERY, folder_licences=folders, shard_origins=of_shards),
        texts=tables["texts"],
        expression_types=_types(stated, recipe.licence),
        origins=of_shards,
    )


def _types(stated: pa.Table, settings: LicenceSettings) -> pa.Table:
    """Return EXPRESSION_TYPES of the expressions that each shard states."""
    types = licence_decision.expression_types(stated["expression"].unique().to_pylist(), settings)
    return stated.join(types, "expression", join_type="inner").sort_by(
        [("shard", "ascending"), ("expression", "ascending")]
    )


def declared_statements(origins: pa.Table) -> pa.Table:
    """Return what origins declare of themselves as statements for their root folder."""
    rows = []
    # There may be as many repositories as there are, of which hardly one declares anything.
    for row in origins.filter(pc.is_valid(origins["declared_license"])).to_pylist():
        expression = value_expression(row["declared_license"])
        if expression is not None:
            rows.append(
                {
                    "origin_id": row["origin_id"],
                    "folder": "",
                    "document_id": None,
                    "path": "",
                    "kind": "origin",
                    "expression": expression,
                    "score": 100.0,
                }
            )
    return pa.Table.from_pylist(rows, schema=LICENCE_STATEMENTS)
