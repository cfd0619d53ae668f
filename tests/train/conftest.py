"""A pack written by hand, of text that a tiny model learns in seconds."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from starsmith.format.mixture import Rates
from starsmith.format.pack_file import PACK_FILE, Pack, PackRecord, Portion, Shard
from starsmith.format.pack_shard import RUNS
from starsmith.format.settings import FormatSettings, PackSettings
from starsmith.format.tokenizer_training import trained_on
from starsmith.storage import Store
from starsmith.table import write_rows

TEXTS = [f"def area_{number}(width, height):\n    return width * height + {number}\n" for number in range(200)]


def written(store, folder, number, texts, tokenizer):
    """Write one shard, each text a repository of one file."""
    ids, runs = [], []
    for unit, text in enumerate(texts):
        own = [6, *tokenizer.encode(text), 0]
        digest = hashlib.sha256(text.encode()).hexdigest()
        runs.append(
            {
                "start": len(ids),
                "length": len(own),
                "unit": unit,
                "document_id": bytes.fromhex(digest[:40]),
                "swhid": f"swh:1:cnt:{digest[:40]}",
                "repo_name": f"acme/area-{number}-{unit}",
                "path": "/area.py",
                "kind": "code",
            }
        )
        ids += own
    name = f"shard-{number}"
    with store.spool() as file:
        file.write(np.array(ids, "<u2").tobytes())
        tokens_file, tokens_sha256, _ = store.publish_digested(file, f"{folder}/{name}-{{digest}}.tokens")
    with store.spool() as file:
        write_rows(file, RUNS, [pa.Table.from_pylist(runs, RUNS)], compression_level=3)
        runs_file, runs_sha256, runs_bytes = store.publish_digested(file, f"{folder}/{name}-{{digest}}.parquet")
    return Shard(
        name=name,
        key=f"{folder}/{number}",
        tokens=len(ids),
        units=len(texts),
        documents=len(runs),
        tokens_file=tokens_file,
        tokens_sha256=tokens_sha256,
        runs_file=runs_file,
        runs_sha256=runs_sha256,
        runs_bytes=runs_bytes,
        source_sha256="",
    )


def make_pack(folder, texts=TEXTS, *, vocabulary=320):
    """Write a pack with one epoch of two shards, and one that is held out."""
    tokenizer = trained_on([TEXTS], vocabulary=vocabulary)
    store = Store.at(str(folder))
    tokenizer.write(store, "tokenizer")
    middle = len(texts) // 2
    record = PackRecord(
        tokenizer=tokenizer.fingerprint,
        vocabulary=tokenizer.vocabulary,
        release="0" * 64,
        settings=PackSettings(),
        format=FormatSettings(),
        rates=Rates(rules=(), cells=(), share=1.0),
        epochs=(
            Portion(
                name="epoch-0",
                shards=tuple(
                    written(store, "epoch-0", number, part, tokenizer)
                    for number, part in enumerate((texts[:middle], texts[middle:]))
                ),
            ),
        ),
        held_out=Portion(
            name="held-out",
            shards=(written(store, "held-out", 0, [text.replace("area", "volume") for text in texts[:60]], tokenizer),),
        ),
        composition=(),
    )
    store.write(PACK_FILE, record.dumped())
    return Pack.open(str(folder))


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="session")
def write_pack():
    """Write another: `write_pack(folder, vocabulary=…, repositories=…)`."""
    return lambda folder, *, vocabulary=320, repositories=200: make_pack(
        folder, TEXTS[:repositories], vocabulary=vocabulary
    )
