"""Language detection: accuracy on linguist's own samples, and speed, beside enry alone in the same run.

    python benchmarks/language.py LINGUIST [--since 2024-09-20] [--tree FOLDER ...]

LINGUIST is a clone of github-linguist/linguist (with or without a work tree); its history tells which samples are newer
than the classifier's training data. Samples are read from git and never written. Each `--tree` is any folder of
source code: there the two are compared file by file, since nobody labelled it.
"""

import argparse
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unittest import mock

import enry
import pyarrow as pa

from starsmith.curate.language import Language, LanguageDetector, current_name, is_generated, is_vendor, safe_name
from starsmith.curate.language_data import LANGUAGE_DATA

T = TypeVar("T")
LARGEST = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    path: str
    language: str
    text: bytes

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]


def git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["git", "-C", repository, *arguments], input=given, capture_output=True, check=True).stdout


def folder_languages(repository: Path) -> dict[str, str]:
    """Map sample folders to languages where they differ (`fs_name` in languages.yml)."""
    folders, language = {}, ""
    for line in git(repository, "show", "HEAD:lib/linguist/languages.yml").decode().splitlines():
        if line.endswith(":") and not line.startswith((" ", "#")):
            language = line[:-1].strip("\"'")
        elif line.startswith("  fs_name:"):
            folders[line.partition(":")[2].strip(" \"'")] = language
    return folders


def samples(repository: Path) -> Iterator[Sample]:
    folders = folder_languages(repository)
    listing = git(repository, "ls-tree", "-rz", "HEAD", "samples").decode().split("\0")[:-1]
    entries = [(line.split()[2], line.partition("\t")[2]) for line in listing if not line.startswith("120000")]
    stream = git(repository, "cat-file", "--batch", given="".join(f"{blob}\n" for blob, _ in entries).encode())
    at = 0
    for _, path in entries:
        end = stream.index(b"\n", at)
        size = int(stream[at:end].split()[2])
        folder = path.split("/")[1]
        yield Sample(path=path, language=folders.get(folder, folder), text=stream[end + 1 : end + 1 + size])
        at = end + 2 + size


def added_since(repository: Path, date: str) -> set[str]:
    arguments = ("log", f"--since={date}", "--diff-filter=A", "--name-only", "--format=", "-z", "--", "samples")
    return set(git(repository, *arguments).decode().replace("\n", "\0").split("\0"))


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def texts_of(files: Sequence[Sample]) -> pa.LargeBinaryArray:
    return pa.array([file.text for file in files], pa.large_binary())


def own(files: Sequence[Sample], texts: pa.LargeBinaryArray) -> list[Language]:
    return LanguageDetector().detect([safe_name(file.file_name) for file in files], texts)


def enry_alone(files: Sequence[Sample]) -> list[str | None]:
    return [current_name(enry.get_language(safe_name(file.file_name), file.text)) for file in files]


def share(answers: Sequence[str | None], files: Sequence[Sample], chosen: set[str] | None = None) -> str:
    right = [
        answer == file.language
        for answer, file in zip(answers, files, strict=True)
        if chosen is None or file.path in chosen
    ]
    return f"{100 * sum(right) / max(1, len(right)):6.2f} % of {len(right)}"


def known_to_enry(files: Sequence[Sample]) -> set[str]:
    former = {new: old for old, new in LANGUAGE_DATA.former_names.items()}
    names = {file.language for file in files}
    known = {
        name
        for name in names
        if any(enry.get_language_type(candidate) != "unknown" for candidate in (name, former.get(name, name)))
    }
    return {file.path for file in files if file.language in known}


def report_accuracy(files: Sequence[Sample], new: set[str]) -> None:
    texts = texts_of(files)
    languages, seconds = timed(lambda: own(files, texts))
    peer, peer_seconds = timed(lambda: enry_alone(files))
    with mock.patch("starsmith.curate.language.decide_shared", return_value=None):
        names_only = [language.name for language in own(files, texts)]
    answers = [language.name for language in languages]
    sets = {"all": None, "new": new, "new, known to enry": new & known_to_enry(files)}
    for label, chosen in sets.items():
        print(
            f"{label:20} own {share(answers, files, chosen)}; without the rules {share(names_only, files, chosen)};"
            f" enry {share(peer, files, chosen)}"
        )
    report_methods(languages, files)
    print(
        f"files/s: own {len(files) / seconds:.0f}, enry {len(files) / peer_seconds:.0f},"
        f" ratio {peer_seconds / seconds:.1f}"
    )


def report_methods(languages: Sequence[Language], files: Sequence[Sample]) -> None:
    asked = Counter(language.method for language in languages)
    right = Counter(
        language.method for language, file in zip(languages, files, strict=True) if language.name == file.language
    )
    for method, count in asked.most_common():
        print(f"  {method:10} {right[method]} of {count}")


def tree_files(folder: Path) -> Iterator[Sample]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < LARGEST:
            text = path.read_bytes()
            if b"\0" not in text:
                yield Sample(path=str(path.relative_to(folder)), language="", text=text)


def report_tree(folder: Path) -> None:
    files = list(tree_files(folder))
    megabytes = sum(len(file.text) for file in files) / 1e6
    texts = texts_of(files)
    languages, seconds = timed(lambda: own(files, texts))
    peer, peer_seconds = timed(lambda: enry_alone(files))
    _, generated = timed(lambda: [is_generated(safe_name(file.file_name), file.text) for file in files])
    _, vendored = timed(lambda: [is_vendor(file.path) for file in files])
    same = sum(language.name == other for language, other in zip(languages, peer, strict=True))
    print(f"{folder}: {len(files)} files, {megabytes:.1f} MB, same answer {100 * same / len(files):.2f} %")
    rates: Mapping[str, float] = {
        "own": seconds,
        "enry": peer_seconds,
        "is_generated": generated,
        "is_vendor": vendored,
    }
    for label, spent in rates.items():
        print(f"  {label:12} {1e6 * spent / len(files):7.1f} µs/file {megabytes / spent:8.0f} MB/s")
    different = Counter(
        (Path(file.path).suffix, language.name, language.method, other)
        for file, language, other in zip(files, languages, peer, strict=True)
        if language.name != other
    )
    for (suffix, name, method, other), count in different.most_common(10):
        print(f"  {count:5} {suffix or '(none)'}: {name} by {method}, enry {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("linguist", type=Path)
    parser.add_argument("--since", default="2024-09-20", help="samples added later count as new")
    parser.add_argument("--tree", type=Path, action="append", default=[], help="a folder of source code")
    arguments = parser.parse_args()
    files = list(samples(arguments.linguist))
    report_accuracy(files, added_since(arguments.linguist, arguments.since))
    for folder in arguments.tree:
        report_tree(folder)


if __name__ == "__main__":
    main()
