"""Training a tokenizer on a sample of a release, by language, and how many tokens it makes of each language.

Section 9 of the paper's data description: byte-level BPE, 49,152 entries, trained on a small part of the corpus (the
shares of its languages are not known; here they follow from a power of the languages' sizes). Which documents are in
the sample is a function of (seed, document id) and the languages' sizes. The library counts with as many threads as it
likes: ties between pairs are broken by their ids, and the same sample gives the same bytes (tested with 1, 2 and 4).
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from starsmith.errors import StarsmithError
from starsmith.format.choice import Draw
from starsmith.format.released_files import IDENTITY, Released, document_ids
from starsmith.format.sentinels import SENTINELS
from starsmith.format.settings import TokenizerSettings
from starsmith.format.tokenizer import RECORD_FILE, TOKENIZER_FILE, Tokenizer, config_files
from starsmith.progress import Reporter
from starsmith.storage import to_json

LEAST_VOCABULARY = 256 + len(SENTINELS)
LEAST_COUNT = 2
"""A pair that occurs once in the whole sample is no token: it would say what one document said."""
LONGEST_TEXT = 1 << 17
"""Characters that one document adds to a sample; few have more, and none is to decide on tokens by itself."""
FERTILITY_BYTES = 1 << 20
"""Text of each language that fertility is measured on, from outside the sample if there is that much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fertility:
    """How much text a token holds, on average, in one language."""

    language: str
    documents: int
    bytes: int
    characters: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def characters_per_token(self) -> float:
        return self.characters / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A tokenizer with what came out. `vocabulary` is less than was asked for where the text gave no more."""

    tokenizer: Tokenizer
    asked: int
    fertility: tuple[Fertility, ...]

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.vocabulary


def train_tokenizer(released: Released, settings: TokenizerSettings, reporter: Reporter) -> Trained:
    """Train a tokenizer on a release.

    Raises StarsmithError for a release without text and a vocabulary that cannot hold sentinels and bytes.
    """
    _check_vocabulary(settings.vocabulary)
    rates = sample_rates(released, settings)
    if not rates:
        raise StarsmithError(
            f"The release {released.digest[:16]} holds no text to train a tokenizer on. Build another."
        )
    with reporter.stage("tokenizer", total=released.documents) as progress:

        def texts() -> Iterator[list[str]]:
            for _, rows in released.tables([*IDENTITY, "language", "content"]):
                yield sampled(rows, rates, seed=settings.seed)
                progress.advance(rows.num_rows)

        tokenizer = trained_on(texts(), vocabulary=settings.vocabulary)
    fertility = measure_fertility(tokenizer, released, rates, reporter, seed=settings.seed)
    if tokenizer.vocabulary < settings.vocabulary:
        reporter.note(
            f"The vocabulary has {tokenizer.vocabulary:,} entries, not {settings.vocabulary:,}: no more pairs occur "
            f"{LEAST_COUNT} times in the sample. Train on more text for more."
        )
    record = {
        "asked": settings.vocabulary,
        "fertility": [asdict(each) for each in fertility],
        "fingerprint": tokenizer.fingerprint,
        "release": released.digest,
        "settings": asdict(settings),
        "vocabulary": tokenizer.vocabulary,
    }
    tokenizer = Tokenizer(tokenizer.files | {RECORD_FILE: to_json(record)})
    return Trained(tokenizer=tokenizer, asked=settings.vocabulary, fertility=fertility)


def sample_rates(released: Released, settings: TokenizerSettings) -> dict[str, float]:
    """Return which share of each language's documents the sample holds.

    Languages share the sample by a power of their sizes; what a small one cannot fill goes to the others.
    """
    sizes = released.bytes_by_language()
    left = settings.sample_mb * 1e6
    waiting = {language: size for language, size in sizes.items() if size}
    rates: dict[str, float] = {}
    while waiting:
        weights = {language: size**settings.language_power for language, size in waiting.items()}
        share = left / sum(weights.values())
        full = {language for language, size in waiting.items() if size <= share * weights[language]}
        if not full:
            return rates | {language: share * weights[language] / size for language, size in waiting.items()}
        rates |= dict.fromkeys(full, 1.0)
        left -= sum(waiting.pop(language) for language in full)
    return rates


def sampled(rows: pa.Table, rates: dict[str, float], *, seed: int) -> list[str]:
    """Return the texts of those rows that are in the sample."""
    chosen = [
        place
        for place, (identifier, language) in enumerate(
            zip(document_ids(rows), rows["language"].to_pylist(), strict=True)
        )
        if Draw(seed=seed, epoch=0, document_id=identifier).chance("tokenizer", rates.get(language or "", 0.0))
    ]
    return [text[:LONGEST_TEXT] for text in rows["content"].take(pa.array(chosen, pa.int64())).to_pylist()]


def trained_on(texts: Iterable[Iterable[str]], *, vocabulary: int) -> Tokenizer:
    """Return a tokenizer trained on texts, given in batches. Their order changes nothing.

    Raises StarsmithError for a vocabulary that cannot hold sentinels and bytes.
    """
    _check_vocabulary(vocabulary)
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=LEAST_COUNT,
        special_tokens=list(SENTINELS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer=trainer)
    return Tokenizer({TOKENIZER_FILE: library.to_str(pretty=True).encode() + b"\n", **config_files()})


def _check_vocabulary(vocabulary: int) -> None:
    if vocabulary < LEAST_VOCABULARY:
        raise StarsmithError(
            f"A vocabulary of {vocabulary:,} is too small: {len(SENTINELS)} sentinels and 256 bytes take "
            f"{LEAST_VOCABULARY}. Ask for more."
        )


def measure_fertility(
    tokenizer: Tokenizer, released: Released, rates: dict[str, float], reporter: Reporter, *, seed: int
) -> tuple[Fertility, ...]:
    """Return how much text a token holds in each language: on documents outside the sample where there are some."""
    found: dict[str, Fertility] = {}
    with reporter.stage("fertility", total=released.documents) as progress:
        for _, rows in released.tables([*IDENTITY, "language", "content"]):
            for language, texts in _unseen(rows, rates, seed=seed).items():
                so_far = found.get(language)
                if so_far is None or so_far.bytes < FERTILITY_BYTES:
                    found[language] = _measured(tokenizer, language, texts, so_far)
            progress.advance(rows.num_rows)
    return tuple(found[language] for language in sorted(found))


def _unseen(rows: pa.Table, rates: dict[str, float], *, seed: int) -> dict[str, list[str]]:
    """Return texts by language, from outside the sample; of a language that is in it whole, from within."""
    texts: dict[str, list[str]] = {}
    size: dict[str, int] = {}
    columns = zip(document_ids(rows), rows["language"].to_pylist(), rows["content"], strict=True)
    for identifier, language, content in columns:
        name = language or ""
        rate = rates.get(name, 0.0)
        is_seen = rate < 1 and Draw(seed=seed, epoch=0, document_id=identifier).chance("tokenizer", rate)
        if not is_seen and size.get(name, 0) < FERTILITY_BYTES:
            texts.setdefault(name, []).append(content.as_py()[:LONGEST_TEXT])
            size[name] = size.get(name, 0) + len(texts[name][-1])
    return texts


def _measured(tokenizer: Tokenizer, language: str, texts: list[str], so_far: Fertility | None) -> Fertility:
    _, counts = tokenizer.encoder.encode_texts(texts)
    before = so_far or Fertility(language=language, documents=0, bytes=0, characters=0, tokens=0)
    return Fertility(
        language=language,
        documents=before.documents + len(texts),
        bytes=before.bytes + sum(len(text.encode()) for text in texts),
        characters=before.characters + sum(map(len, texts)),
        tokens=before.tokens + int(np.sum(counts)),
    )
