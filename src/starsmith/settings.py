"""What a user can set, as frozen structs: one per stage, with the documentation and limits of each key.

The defaults are those of the `stack-v2-fixed` profile; `recipe.PROFILES` holds what other profiles change. The
reference page of recipe keys and the output of `starsmith init` are generated from these classes.
Numbers of the paper carry the section of its data description.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def setting(
    default: Any,
    doc: str,
    *,
    choices: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
    resource: bool = False,
) -> Any:
    """Declare one recipe key. `resource` keys change how a build runs but no byte of it, and are not fingerprinted."""
    metadata = {"doc": doc, "choices": tuple(choices), "least": least, "most": most, "resource": resource}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """Where documents come from. One `[[source]]` table each."""

    kind: str = setting("git", "What to read.", choices=("git", "installed", "archives"))
    path: str = setting(
        "",
        "git: a repository, a folder of repositories, or a text file that lists paths, one a line. "
        "installed: the `python` executable of an environment (empty: the one Starsmith runs in). "
        "archives: a tar or zip archive, a folder of archives, or a text file that lists paths. "
        "Relative to the recipe.",
    )
    metadata: str = setting("", "git: a CSV or Parquet file keyed by `owner` and `name` with stars, licence, dates …")
    standard_library: bool = setting(True, "installed: also read the Python standard library.")
    commit_times: bool = setting(True, "git: find the last commit time of every path (walks the first-parent history).")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSettings:
    """How documents are cut into units of work."""

    documents: int = setting(4000, "Documents a shard holds on average.", least=1, most=1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectSettings:
    """What is taken in at all."""

    max_bytes: int = setting(10 * 1024 * 1024, "Contents of this size and larger are left out (1.3: 10 MiB).", least=1)
    symlinks: bool = setting(False, "Take symbolic links in, their target path being the content.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptOutSettings:
    """What leaves a corpus with those who asked to be left out (`starsmith opt-out`)."""

    copies: str = setting(
        "own",
        "`own`: the origins that a request names; copies of their contents in other origins stay. `every`: these "
        "contents too, wherever they occur, but for empty files and the texts of licences.",
        choices=("own", "every"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageSettings:
    """How the language of a document is decided."""

    name: str = setting(
        "own",
        "`own`: each document by its own file name. `first`: every copy of a content by the alphabetically first "
        "name it has in its shard (the paper takes an arbitrary one).",
        choices=("own", "first"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenceSettings:
    """Which licence statements count, how they spread, and what is kept."""

    no_licence: str = setting("drop", "What happens where no licence was found (1.4: keep).", choices=("drop", "keep"))
    propagation: str = setting(
        "nearest",
        "`nearest`: the nearest folder above a file that states a licence decides. `union`: all of them (1.4).",
        choices=("nearest", "union"),
    )
    expressions: bool = setting(True, "Keep `A OR B` as a choice; false flattens every expression into a set (1.4).")
    headers: bool = setting(True, "Let a licence stated inside a file decide for that file.")
    manifests: bool = setting(True, "Read licence fields of package manifests.")
    readmes: bool = setting(False, "Treat readme, about, notice and the like as licence files (1.4: yes).")
    min_score: float = setting(
        75.0, "Least share of a licence's text that must be found, in percent.", least=1, most=100
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterSettings:
    """The paper's file filters (section 2)."""

    max_lines: int = setting(100_000, "2.1: drop above this many lines.", least=1)
    max_mean_line: float = setting(100.0, "2.2: drop above this mean line length, in characters.", least=1)
    max_line: int = setting(1_000, "2.2: drop if one line is longer.", least=1)
    max_line_text_like: int = setting(
        100_000, "2.2: the limit for HTML, JSON, Markdown and other long-lined languages.", least=1
    )
    min_alpha: float = setting(0.25, "2.4: least share of letters.", least=0, most=1)
    max_encoded_run: int = setting(1_024, "2.5: drop if one run of encoded data is longer, in characters.", least=0)
    max_encoded_fraction: float = setting(0.5, "2.5: drop above this share of encoded data.", least=0, most=1)
    max_data_lines: int = setting(512, "2.6: drop data-like languages above this many lines.", least=1)
    min_visible_chars: int = setting(100, "2.7: least visible text of an HTML file, in characters.", least=0)
    min_visible_fraction: float = setting(0.2, "2.7: least visible share of an HTML file.", least=0, most=1)
    inspection: bool = setting(True, "2.9: drop the (language, extension) pairs that visual inspection excluded.")
    unknown_language: str = setting("drop", "What happens where no language was recognised.", choices=("drop", "keep"))
    hex_spaces: bool = setting(
        False,
        "2.5: let spaces follow the comma in hexadecimal tables (`0x00, 0x01`), which the paper's pattern misses.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactDuplicateSettings:
    """Which copy of equal bytes is kept, and what happens where their licences differ."""

    conflict: str = setting(
        "earliest",
        "Copies under different licences: `any_permissive` keeps one if any copy is permissive (the paper), "
        "`all_permissive` only if every copy whose licence is known is, `earliest` if the copy that was committed "
        "first is, or all are where a copy has no commit time.",
        choices=("any_permissive", "all_permissive", "earliest"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicateSettings:
    """MinHash candidates and their verification (section 4)."""

    threshold: float = setting(
        0.7, "Least Jaccard similarity to the winner at which a document is dropped.", least=0.01, most=1
    )
    ngram: int = setting(5, "Tokens in a shingle.", least=1, most=64)
    tokens: str = setting(
        "words",
        "`words`: runs of word characters. `paper`: also the empty strings between other characters.",
        choices=("words", "paper"),
    )
    permutations: int = setting(256, "Hash functions of a signature.", least=16, most=4096)
    recall: float = setting(
        0.999, "Least probability of finding a pair at `recall_at`; sets the band layout.", least=0.5, most=1
    )
    recall_at: float = setting(0.8, "Similarity for which `recall` is promised.", least=0.05, most=1)
    bands: int = setting(0, "Bands (0: the layout follows from `recall`). The paper: 25.", least=0)
    rows: int = setting(0, "Rows of a band (0: follows from `recall`). The paper: 10.", least=0)
    verify: bool = setting(
        True, "Drop only what is at least `threshold` similar to the winner itself, by exact Jaccard."
    )
    across_languages: bool = setting(False, "Compare documents of different languages too.")
    seed: int = setting(42, "Seed of the hash functions.", least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseSettings:
    """What the release holds."""

    name: str = setting("my-corpus", "The name on the dataset card.")
    ids_only: bool = setting(True, "Also write the variant without contents, one row per repository.")
    compression_level: int = setting(3, "Zstandard level of the release's Parquet files.", least=1, most=19)


@dataclass(frozen=True, kw_only=True, slots=True)
class RedactionSettings:
    """What is looked for in the texts of a release and replaced (section 5)."""

    emails: bool = setting(True, "Replace e-mail addresses.")
    ip_addresses: bool = setting(True, "Replace public IPv4 and IPv6 addresses.")
    keys: bool = setting(True, "Replace private keys, tokens of known issuers and other keys.")
    passwords: bool = setting(True, "Replace passwords in code, configuration, command lines and URLs.")
    keep_example_emails: bool = setting(
        True, "Leave addresses at example domains (example.com, *.test, localhost …) as they are."
    )
    keep_placeholder_emails: bool = setting(
        True, "Leave addresses nobody reads (noreply@ …, user@domain.com) as they are."
    )
    keep_licence_authors: bool = setting(
        True, "Leave the authors' addresses in the copyright lines a file begins with, which most licences ask to keep."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSettings:
    """A benchmark that no document may hold. One `[[benchmark]]` table each."""

    name: str = setting("", "The name in evidence, and how a known benchmark's fields are found.")
    path: str = setting("", "A JSON lines, JSON or Parquet file, or a folder of them. Relative to the recipe.")
    id: str = setting("", "The field that tells problems apart (empty: the usual names, else the row's number).")
    prompt: str = setting(
        "", "Fields that hold prompts or questions, with commas between (all empty: known by `name`)."
    )
    docstring: str = setting("", "Fields that hold docstrings or instructions.")
    solution: str = setting("", "Fields that hold solutions.")
    tests: str = setting("", "Fields that hold tests.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecontaminationSettings:
    """When a document counts as holding a benchmark's problem (section 6)."""

    rule: str = setting(
        "paper",
        "`paper`: a text of the problem stands in the document, whatever case and white space. `ngram`: a share of its "
        "runs of words does. `both`: either.",
        choices=("paper", "ngram", "both"),
    )
    solutions: bool = setting(True, "Look for solutions.")
    tests: bool = setting(True, "Look for tests (section 6: no).")
    min_length: int = setting(
        30,
        "Leave out texts that are shorter, in bytes without white space "
        "(section 6: no limit; its four generic solutions are left out here too). What was found by accident in 14,584 "
        "files of real packages had 25 and fewer.",
        least=0,
    )
    ngram: int = setting(10, "Words in a run; a text of 3 words or more that has fewer is one run.", least=3, most=64)
    ngram_share: float = setting(0.5, "Least share of a text's runs of words.", least=0.01, most=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class MalwareSettings:
    """Where a running clamd is, and when its signatures count (section 6)."""

    clamd: str = setting("", "The socket clamd listens at: a path, or `host:port` (empty: no scan for malware).")
    probe: str = setting(
        "",
        "A file that clamd must name infected before anything else counts as clean (empty: the EICAR test text). "
        "Relative to the recipe.",
    )
    max_age_days: float = setting(
        7.0, "Greatest age of the signature database (0: any, also one of your own without a date).", least=0
    )
    signatures: str = setting(
        "",
        "A name for the state of your own signatures, where clamd has no dated ones. Change it when they change: all "
        "is then scanned again.",
    )
    max_bytes: int = setting(
        10 * 1024 * 1024,
        "Largest content. clamd's MaxFileSize, MaxScanSize and StreamMaxLength must not be below it; it is tried out.",
        least=1,
    )
    depth: int = setting(256, "Contents that are on their way to clamd at once.", least=1, most=512, resource=True)
    timeout: float = setting(
        120.0, "Seconds without a sign of clamd after which it counts as dead.", least=1, resource=True
    )
