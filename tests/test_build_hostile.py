"""Corpora that nobody would wish for: every document ends in the ledger, the build goes on, memory stays bounded."""

import json
import os
import random
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from starsmith.document import CONTENTS, DOCUMENTS, ORIGINS, TEXTS, content_id
from starsmith.ledger import LEDGER
from starsmith.storage import Store
from starsmith.workspace import read_build

MEMORY_BYTES = 1_500_000_000
"""What no process of a build may exceed, whatever it is given."""

# A process begins with the peak of the one that started it, and this one may have tested large things before.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
raise SystemExit(code)
"""


def build(corpus_recipe, workspace):
    """Build by the command line; return what it printed and the most memory that any of its processes took."""
    file = workspace.with_suffix(".toml")
    file.write_text(corpus_recipe)
    peak = workspace.with_suffix(".peak")
    measured = [sys.executable, "-S", "-c", MEASURED, str(peak)]
    command = [sys.executable, "-m", "starsmith", "build", str(file), "--workspace", str(workspace), "--workers", "2"]
    done = subprocess.run([*measured, *command, "--json"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return json.loads(done.stdout), int(peak.read_text()) * 1024


def read(workspace, name, schema, columns=None):
    store = Store(str(workspace))
    return read_build(store).table(name, schema).read(store, columns)


def check_ledger(workspace, report):
    """Check that every document has one verdict and that the sums hold at every stage."""
    documents = read(workspace, "documents", DOCUMENTS, ["document_id"])["document_id"].to_pylist()
    ledger = read(workspace, "ledger", LEDGER)
    assert sorted(ledger["document_id"].to_pylist()) == sorted(documents)
    assert len(set(documents)) == len(documents)
    for stage in report["stages"]:
        assert stage["documents_in"] == stage["kept"] + sum(stage["dropped"].values())
    decisions = [stage for stage in report["stages"] if stage["dropped"] or stage["name"] == "release"]
    dropped = Counter()
    for stage in decisions:
        assert stage["documents_in"] == len(documents) - dropped.total(), stage["name"]
        dropped.update(stage["dropped"])
    verdicts = Counter(ledger["verdict"].to_pylist())
    assert verdicts == dropped + Counter(keep=report["stages"][-1]["kept"])
    return verdicts


ODD_PATHS = {
    b"new\nline.py": b"new line",
    b"back\\slash.py": b"backslash",
    b'quo"te.py': b"quote",
    b"caf\xe9.py": b"not utf-8",
    b"caf\\xe9.py": b"looks like the one that is not utf-8",
    "naïve/日本語.py".encode(): b"letters",
    b" .py": b"space",
    b"tab\t.py": b"tab",
    b"...py": b"dots",
    b"..a/..b/.py": b"more dots",
    b"-rf.py": b"option",
    b"$(touch x).py": b"shell",
    b"a" * 255 + b".py": b"long name",
    b"/".join([b"deep"] * 300) + b"/x.py": b"deep",
    "\u202egpj.py".encode(): b"right to left",
    b"\x1b[31mred.py": b"escape",
    b"\x7f\x01.py": b"control",
}
ENCODED = {
    "utf8.py": ("# größer, 日本\n", "utf-8"),
    "bom.py": ("# größer\n", "utf-8-sig"),
    "utf16.py": ("# größer, 日本\n", "utf-16"),
    "utf16be.py": ("\ufeff# größer\n", "utf-16-be"),
    "latin.py": ("# größer, schöner, weiter: die Straße über den Fluß\n", "latin-1"),
    "japanese.py": ("# これは日本語のコメントです。文字コードの判定に使います。\n" * 4, "shift-jis"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, corpus, mit, source_code):
    """One corpus with all that is odd; return its folder and what a build of it printed."""
    folder = tmp_path_factory.mktemp("hostile")
    made = type(corpus)(folder=folder / "repositories")
    made.folder.mkdir()
    code = {path: source_code(what) for path, what in ODD_PATHS.items()}
    made.add("odd/paths", {"LICENSE": mit, **code})
    texts = {name: (text + source_code(name).decode()).encode(encoding) for name, (text, encoding) in ENCODED.items()}
    chance = random.Random("hostile")
    bytes_ = {
        "invalid.py": b"# \xff\xfe\xfa\xc3\x28 \x80\x81\n" + source_code("invalid"),
        "noise.py": bytes(chance.choices(range(1, 256), k=20_000)),
        "nul.py": b"a = 1\0\n",
        "nuls.py": bytes(1000),
        "empty.py": b"",
        "newline.py": b"\n",
        "returns.py": source_code("returns").replace(b"\n", b"\r"),
        "half_a_pair.js": "var x = '\ud83d'\n".encode("utf-8", "surrogatepass"),
        "cut.py": "# größ".encode()[:-1],
        "bom_only.py": b"\xff\xfe",
        "odd_utf16.py": b"\xff\xfe" + "abc".encode("utf-16-le") + b"x",
    }
    made.add("odd/encodings", {"LICENSE": mit, **texts, **bytes_})
    big = {
        "eleven_mib.py": source_code("big", lines=200) * 1000,
        "one_line.js": b"x=1;" * 12_500_000,
        "many_lines.py": b"\n" * 3_000_000,
        "one_word.txt": b"a" * 9_000_000,
        "braces.json": b"[" * 3_000_000,
        "backslashes.c": b"\\" * 2_000_000,
        "comment.py": b"#" * 2_000_000,
        "base64.py": b"QUJD" * 1_000_000,
        "spaces.html": b"<" * 1_000_000 + b" " * 1_000_000,
    }
    made.add("odd/sizes", {"LICENSE": mit, **big})
    made.add("odd/empty", {})
    subprocess.run(["git", "init", "--quiet", "--bare", str(made.folder / "nothing")], check=True)
    dangling = made.add("odd/dangling", {"a.py": source_code("dangling")})
    (dangling / "HEAD").write_text("ref: refs/heads/gone\n")
    links(made.add("odd/links", {"LICENSE": mit, "a.py": source_code("links")}))
    for name in ("damaged", "beheaded"):
        content = {f"f{i}.py": source_code(f"{name} {i}") for i in range(20)}
        damaged = made.add(f"odd/{name}", {"LICENSE": mit, **content})
        damage(damaged, whole=name == "beheaded")
    for name in (b"caf\xe9", b"new\nline", b"tab\t and \x1b[31mred", b"-rf", b"per%cent"):
        (made.folder / os.fsdecode(name)).mkdir()
        moved = made.add("odd/named", {"LICENSE": mit, "a.py": source_code(name)})
        (moved / "config").write_text("[core]\n\tbare = true\n")
        moved.rename(made.folder / os.fsdecode(name) / os.fsdecode(name))
    (made.folder / "not-a-repository").mkdir()
    (made.folder / "not-a-repository/x.py").write_bytes(b"x = 1\n")
    recipe = made.recipe("[collect]\nmax_bytes = 60000000", documents=10)
    report, memory = build(recipe, folder / "w")
    return folder / "w", report, memory


def git(folder, *arguments, stdin=b""):
    done = subprocess.run(["git", *arguments], cwd=folder, input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


def links(folder):
    """Give a repository a symbolic link out of it, a submodule, and names that only a crafted tree can hold."""
    blob = git(folder, "rev-parse", "HEAD:a.py")
    target = git(folder, "hash-object", "-w", "--stdin", stdin=b"../../../../../../etc/passwd")
    entries = [
        (0o120000, b"link.py", target),
        (0o160000, b"module", "1" * 40),
        (0o100644, b"..", blob),
        (0o100644, b".git", blob),
        (0o100644, b"a/../b.py", blob),
        (0o100755, b"run.py", blob),
        (0o100644, b"gone.py", "2" * 40),
    ]
    data = b"".join(
        b"%o %s\0%s" % (mode, name, bytes.fromhex(blob)) for mode, name, blob in sorted(entries, key=lambda e: e[1])
    )
    tree = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=data)
    names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c"}
    commit = subprocess.run(
        ["git", "commit-tree", "-m", "x", tree],
        cwd=folder,
        env={**os.environ, **names},
        capture_output=True,
        check=True,
    )
    git(folder, "update-ref", "HEAD", commit.stdout.decode().strip())


def damage(folder, *, whole):
    """Flip bytes in a pack, or cut it short."""
    git(folder, "repack", "-a", "-d", "-f", "--quiet")
    (pack,) = (folder / "objects/pack").glob("*.pack")
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    if whole:
        del data[100:]
    else:
        for place in range(len(data) // 3, len(data) // 2, 97):
            data[place] ^= 0xFF
    pack.write_bytes(data)


def of_origin(workspace, name):
    """The verdict of every path of an origin."""
    origins = read(workspace, "origins", ORIGINS)
    (identifier,) = origins.filter(pc.equal(origins["repo_name"], f"odd/{name}"))["origin_id"].to_pylist()
    ledger = read(workspace, "ledger", LEDGER)
    rows = ledger.filter(pc.equal(ledger["origin_id"], pa.scalar(identifier, ledger["origin_id"].type)))
    return dict(zip(rows["path"].to_pylist(), rows["verdict"].to_pylist(), strict=True))


def test_everything_is_in_the_ledger(hostile):
    workspace, report, memory = hostile
    verdicts = check_ledger(workspace, report)
    assert verdicts["keep"] > 20
    assert memory < MEMORY_BYTES
    assert report["notes"] == [
        "odd/beheaded: the commit that its HEAD names is missing or damaged; run `git fsck` in it",
        "repositories/nothing: empty repository",
    ]


def test_odd_paths_are_documents_like_others(hostile):
    found = of_origin(hostile[0], "paths")
    shown = {path.decode("utf-8", "backslashreplace"): "keep" for path in ODD_PATHS}
    # Two names that look alike are two documents all the same.
    assert found == {**shown, "LICENSE": "filter.text_name"}
    texts = release_texts(hostile[0], "odd/paths")
    assert len(texts) == len(ODD_PATHS)


def release_texts(workspace, repository):
    record = read_build(Store(str(workspace)))
    data = ds.dataset([workspace / part.name for part in record.tables["data"]]).to_table()
    rows = data.filter(pc.equal(data["repo_name"], repository))
    return list(
        zip(rows["path"].to_pylist(), rows["src_encoding"].to_pylist(), rows["content"].to_pylist(), strict=True)
    )


def test_encodings_are_decoded_or_recorded(hostile, source_code):
    found = of_origin(hostile[0], "encodings")
    assert {path for path, verdict in found.items() if verdict.startswith("error.")} >= {"nul.py", "nuls.py"}
    assert found["empty.py"].startswith("filter.")
    released = {path[1:]: text for path, _, text in release_texts(hostile[0], "odd/encodings")}
    for name, (text, encoding) in ENCODED.items():
        assert released[name] == text.removeprefix("\ufeff") + source_code(name).decode(), encoding


def test_sizes_are_dealt_with_as_the_recipe_says(hostile):
    found = of_origin(hostile[0], "sizes")
    assert found["one_line.js"] == "filter.long_lines"
    assert found["eleven_mib.py"] == "filter.lines"
    rows = read(hostile[0], "texts", TEXTS, ["num_chars", "max_line_length"]).to_pylist()
    assert {"num_chars": 50_000_000, "max_line_length": 50_000_000} in rows


def test_contents_are_what_git_names(hostile):
    contents = read(hostile[0], "contents", CONTENTS)
    assert all(
        content_id(content.as_py()) == identifier
        for identifier, content in zip(contents["content_id"].to_pylist(), contents["content"], strict=True)
    )


def test_what_is_no_file_is_no_content(hostile):
    found = of_origin(hostile[0], "links")
    assert (found["link.py"], found["module"], found["gone.py"]) == (
        "source.symlink",
        "source.submodule",
        "error.read",
    )
    assert {"..", ".git", "a/../b.py", "run.py"} <= found.keys()


def test_damage_costs_the_damaged_documents(hostile):
    found = Counter(of_origin(hostile[0], "damaged").values())
    assert found["error.read"] > 0
    assert found["keep"] > 5
    assert found.total() == 21


def test_large_files_are_left_out_by_default(own_corpus, mit, source_code, tmp_path, build_into):
    limit = 10 * 1024 * 1024
    own_corpus.add(
        "a/a", {"LICENSE": mit, "at.py": b"#" * limit, "below.py": b"#" * (limit - 1), "b.py": source_code(1)}
    )
    build_into(own_corpus.recipe(), tmp_path / "w", workers=0)
    ledger = read(tmp_path / "w", "ledger", LEDGER, ["path", "verdict", "detail"]).to_pylist()
    found = {row["path"]: (row["verdict"], row["detail"]) for row in ledger}
    assert found["at.py"] == ("source.too_large", f"{limit} bytes; the limit is {limit}")
    assert found["below.py"][0] == "filter.long_lines"
    assert found["b.py"][0] == "keep"


def test_a_hundred_thousand_tiny_files(own_corpus, mit, tmp_path):
    count = 100_000
    tiny = {f"d{i % 100}/e{i % 10}/f{i}.py": b"value_%d = %d\n" % (i % 50_000, i % 5) for i in range(count)}
    own_corpus.add("many/files", {"LICENSE": mit, **tiny})
    report, memory = build(own_corpus.recipe(documents=4000), tmp_path / "w")
    verdicts = check_ledger(tmp_path / "w", report)
    assert verdicts.total() == count + 1
    assert memory < MEMORY_BYTES
