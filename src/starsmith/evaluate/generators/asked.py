"""What a model is asked for, one completion at a time, and what it is to give back.

What is drawn for a completion hangs on the seed, the problem and the number of the sample alone, so that neither the
order nor an interruption changes it. What this module does not do: it cuts nothing after the model has written it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starsmith.errors import StarsmithError
from starsmith.evaluate.problem import Problem, Sampling

PROMPTS_VERSION: Final = "1"
"""Counts up when prompts are made or shortened in another way: generations of two versions are not the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One completion of one problem."""

    task: str
    sample: int
    draw: int
    """Decides what is drawn: 0 to 2**63 - 1."""
    prompt: str
    suffix: str | None = None
    """The text after the gap; None where the prompt goes on."""
    stops: tuple[str, ...] = ()
    context: str = ""
    """The first part of the prompt, where it is one that may be shortened from its end; `rest` is the other."""
    rest: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.task, self.sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A completion. `text` ends before the stop."""

    asked: Asked
    text: str
    finish: str
    """`stop`, `length`, or what an endpoint calls it."""
    tokens: int | None = None
    shortened: int = 0
    """Tokens that were left out of a prompt which was longer than the model reads."""


Batch = Sequence[Asked]


class Model(Protocol):
    """A model that completes."""

    def about(self) -> dict[str, Any]:
        """Return what tells it from others, as plain values; the same for the same model."""
        ...

    def batches(self, asked: Sequence[Asked], sampling: Sampling) -> list[Batch]:
        """Return all that is asked, in groups whose members are made together.

        An interrupted run makes whole groups again, so that a group's numbers do not hang on what was done before.
        """
        ...

    def completed(self, batches: Iterable[Batch], sampling: Sampling) -> Iterator[list[Made]]:
        """Yield what is made of each group, in any order. Raises StarsmithError where the model does not answer."""
        ...


def draw(seed: int, task: str, sample: int) -> int:
    """Return the number that decides what is drawn for a completion.

    >>> draw(0, "HumanEval/0", 1) == draw(0, "HumanEval/0", 1) != draw(0, "HumanEval/0", 2)
    True
    """
    digest = hashlib.blake2b(f"{seed}/{task}/{sample}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def all_asked(problems: Iterable[Problem], sampling: Sampling, *, seed: int) -> list[Asked]:
    """Return all completions that are wanted, those of a problem together and in the order of their numbers."""
    found = []
    for problem in problems:
        for sample in range(sampling.samples):
            found.append(
                Asked(
                    task=problem.id,
                    sample=sample,
                    draw=draw(seed, problem.id, sample),
                    prompt=problem.prompt,
                    suffix=problem.suffix,
                    stops=problem.stops,
                    context=getattr(problem, "context", "") if hasattr(problem, "in_file") else "",
                    rest=getattr(problem, "in_file", ""),
                )
            )
    return found


def refuse_samples_of_greedy(sampling: Sampling) -> None:
    """Raise StarsmithError where one problem would be asked for the same completion several times."""
    if sampling.temperature == 0 and sampling.samples > 1:
        raise StarsmithError(
            f"{sampling.samples} samples at temperature 0 would all be the same; give a temperature, or 1 sample."
        )
