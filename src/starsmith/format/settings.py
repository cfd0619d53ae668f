"""What a training recipe says of tokens: one frozen struct per table, as `starsmith.settings` has them for a corpus.

Numbers of the paper carry the section of its data description.
"""

from dataclasses import dataclass

from starsmith.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSettings:
    """How a tokenizer is trained (`[tokenizer]`)."""

    vocabulary: int = setting(
        49_152, "9: entries, the 38 sentinels and 256 bytes among them.", least=256 + 38, most=1_000_000
    )
    sample_mb: float = setting(
        200.0, "Text to train on, in megabytes, at most. It is held in memory as counted words.", least=0.001
    )
    language_power: float = setting(
        0.5,
        "How a language's share of the sample follows from its size: 1 is in proportion, 0 gives all the same.",
        least=0,
        most=1,
    )
    seed: int = setting(0, "Which documents are in the sample.", least=0, most=2**63 - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatSettings:
    """How documents are put together for training (`[format]` of a training recipe)."""

    metadata_rate: float = setting(
        0.5, "8.2: share of repositories told with their name and the paths of their files.", least=0, most=1
    )
    fim_rate: float = setting(
        0.5, "8.3: share of repositories in which files are cut for fill in the middle.", least=0, most=1
    )
    fim_file_rate: float = setting(0.5, "8.3: share of the files of such a repository that are cut.", least=0, most=1)
    fim_spm_rate: float = setting(0.5, "8.3: share of cut files that are told suffix first.", least=0, most=1)
    fim_names: bool = setting(
        False, "Also cut names of repositories, and paths, as the paper's code does and its text does not."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureRule:
    """How much of some documents is trained on (`[[mixture]]`). The first rule that fits a document counts."""

    source: str = setting("", "The documents of this source; empty: of every one.")
    language: str = setting("", "The documents of this language; empty: of every one.")
    weight: float = setting(1.0, "How often each is seen in an epoch on average; 0 leaves them out.", least=0, most=100)
    cap_gb: float = setting(
        0.0, "2.2: the most gigabytes of these documents together; a random part is taken of more. 0: no cap.", least=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSettings:
    """How a release becomes shards of tokens (`[pack]`)."""

    seed: int = setting(0, "What every choice is drawn by.", least=0, most=2**63 - 1)
    epochs: int = setting(
        1, "Passes over the corpus, each with choices of its own, each in a folder of its own.", least=1, most=1_000
    )
    max_tokens: int = setting(
        0,
        "About how many tokens an epoch may have, by what a token holds on average: a random part of the repositories "
        "is taken. 0: all.",
        least=0,
    )
    held_out: float = setting(
        0.01, "Share of repositories that no epoch holds, packed apart and without fill in the middle.", least=0, most=1
    )
