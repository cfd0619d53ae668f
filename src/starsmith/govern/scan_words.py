"""Scan words: what was looked for in the documents of a release, what was found and what was done about it, in words.

Dataset card, report, terminal and `starsmith why` all speak from here, so that they never disagree. Kinds, counts and
places are told and never a value. Who asked to be left out is told by no word here, only how many.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from starsmith.govern.foreign_text import share, visible
from starsmith.recipe import Recipe
from starsmith.settings import DecontaminationSettings, RedactionSettings

Row = dict[str, Any]

_KINDS: Final = {
    "email": ("e-mail address", "e-mail addresses"),
    "ipv4": ("IPv4 address", "IPv4 addresses"),
    "ipv6": ("IPv6 address", "IPv6 addresses"),
    "private_key": ("private key", "private keys"),
    "key": ("other key", "other keys"),
    "password": ("password", "passwords"),
    "name": ("name of a person", "names of people"),
    "username": ("user name", "user names"),
}
_TOKEN: Final = "token:"  # noqa: S105
_PRIVATE_ADDRESS: Final = "one of five private addresses"
_REPLACED_BY: Final = {"email": "<EMAIL>", "password": "<PASSWORD>", "name": "<NAME>"}
GROUP_WORDS: Final = {
    "emails": "e-mail addresses",
    "ip_addresses": "public IP addresses",
    "keys": "keys",
    "passwords": "passwords",
}
"""What can be looked for, by the setting that has it looked for."""
_EXEMPTIONS: Final = {
    "keep_example_emails": "e-mail addresses at example domains",
    "keep_placeholder_emails": "e-mail addresses that nobody reads",
    "keep_licence_authors": "authors' e-mail addresses in the copyright lines a file begins with",
}
KIND_OF_MATCH: Final = {"text": "a whole text", "words": "a share of its runs of words"}


def kind_words(kind: str, count: int = 1) -> str:
    """Return the words for a kind of finding.

    >>> kind_words("email", 2), kind_words("token:github")
    ('e-mail addresses', 'key of a known issuer: github')
    """
    if kind.startswith(_TOKEN):
        return f"key{'s' if count != 1 else ''} of a known issuer: {visible(kind.removeprefix(_TOKEN))}"
    one, many = _KINDS.get(kind, (kind, kind))
    return one if count == 1 else many


def replaced_by(kind: str) -> str:
    """Return what stands in the place of a kind: a mark, or words where that depends on the document."""
    if kind.startswith("ipv"):
        return _PRIVATE_ADDRESS
    return _REPLACED_BY.get(kind, "<KEY>")


def listed(words: Sequence[str], *, last: str = "and") -> str:
    """Return words as a list in a sentence.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def looked_for(settings: RedactionSettings) -> list[str]:
    """Return what a recipe has looked for and replaced."""
    return [words for name, words in GROUP_WORDS.items() if getattr(settings, name)]


def not_looked_for(settings: RedactionSettings) -> list[str]:
    """Return what a recipe does not have looked for."""
    return [words for name, words in GROUP_WORDS.items() if not getattr(settings, name)]


def left_as_they_are(settings: RedactionSettings) -> list[str]:
    """Return what is recognised but left as it is."""
    return [words for name, words in _EXEMPTIONS.items() if settings.emails and getattr(settings, name)]


def rule_words(settings: DecontaminationSettings) -> str:
    """Say what is left out for a benchmark's problem."""
    whole = "one of a problem's texts, whatever the letter case and white space"
    part = share(round(settings.ngram_share * 1000), 1000)
    runs = f"at least {part} of the runs of {settings.ngram} words of one of a problem's texts"
    rule = {"paper": whole, "ngram": runs}.get(settings.rule, f"{whole}, or {runs}")
    texts = ["prompt", "docstring"]
    texts += [name for name, wanted in (("solution", settings.solutions), ("tests", settings.tests)) if wanted]
    short = f"those shorter than {settings.min_length} bytes without white space and " if settings.min_length else ""
    return (
        f"Left out is what holds {rule}. Its texts are {listed(texts)}; "
        f"{short}four solutions that anybody writes are not looked for."
    )


def match_words(detail: str | None, value: float | None, threshold: float | None) -> str:
    """Say in a few words which problem of a benchmark a document was left out for."""
    problem = visible(detail or "a problem")
    if value is None or threshold is None:
        return f"{problem} stands in it"
    part, least = (share(round(each * 1000), 1000) for each in (value, threshold))
    return f"{problem}: {part} of its runs of words, left out from {least} on"


def not_done(recipe: Recipe) -> str:
    """Say in one sentence what was not looked for at all."""
    things = ["names of people", "user names", *not_looked_for(recipe.redaction)]
    things += [] if recipe.malware.clamd else ["malware"]
    things += [] if recipe.benchmarks else ["problems of benchmarks"]
    return f"{listed(things)} have not been looked for."


def done(recipe: Recipe) -> Iterable[tuple[str, str]]:
    """Yield a sentence for each thing that was looked for, its subject apart, that says how far that goes."""
    if looked_for(recipe.redaction):
        rest = (
            "are found by rules. Recall and precision, measured on files made for it, stand in Starsmith's "
            "documentation and are not 1: expect that some are left, and that some of what was replaced was none."
        )
        yield "Secrets and personal data", rest
    if recipe.benchmarks:
        rest = (
            "are found as their texts are written. One that was retold, translated or given other names may be left, "
            "and so may those of any benchmark that is not named above."
        )
        yield "Benchmark problems", rest
    if recipe.malware.clamd:
        yield "Malware", "is found where the scanner has a signature of it."


def opt_out_words(copies: str, *, documents: int, requests: int | None = None) -> str:
    """Say what left on request, in counts alone; `requests` is None where they are not counted.

    `copies` is the recipe's rule; `documents` are those whose content left though their origin stays. How many origins
    left is not told: a build from stored tables does not see those that left before it.
    """
    rule = {
        "own": "Copies in other origins stay unless a request names their content.",
        "every": "Copies of its contents in other origins leave with it.",
    }.get(copies, "")
    if requests == documents == 0:
        return "No request to be left out is in force."
    are = "request to be left out is" if requests == 1 else "requests to be left out are"
    asked = "" if requests is None else f"{requests:,} {are} in force. "
    gone = (
        "No document was" if not documents else "1 document was" if documents == 1 else f"{documents:,} documents were"
    )
    left = f"{gone} left out for the content alone."
    return f"{asked}An origin that a request names is not collected, nor counted here. {rule} {left}"
