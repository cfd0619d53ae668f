"""From a model and a benchmark to a generations file, which `evaluate.generations` reads, and a record beside it.

Lines stand in the order of the problems and their samples. The record says what determined them: model, tokenizer,
settings, data, the version of the prompts. A run that was killed goes on; a finished one is not made again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from starsmith import __version__
from starsmith.errors import StarsmithError
from starsmith.evaluate import provenance
from starsmith.evaluate.dataset import Data
from starsmith.evaluate.generators.asked import (
    PROMPTS_VERSION,
    Asked,
    Made,
    Model,
    all_asked,
    refuse_samples_of_greedy,
)
from starsmith.evaluate.generators.journal import Journal
from starsmith.evaluate.problem import Benchmark, Problem, Sampling
from starsmith.progress import Reporter

RECORD_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A generations file, and what there is to say of it."""

    path: Path
    completions: int
    made: int
    """Completions made by this run; the others were there."""
    about: Mapping[str, Any]


def generate(
    benchmark: Benchmark[Any],
    problems: Sequence[Problem],
    data: Data,
    model: Model,
    *,
    out: Path,
    sampling: Sampling,
    seed: int,
    reporter: Reporter,
) -> Generated:
    """Let a model complete all problems.

    Args:
        problems: of the benchmark; those that the file is to have.
        data: the official files they come from.
        out: the generations file, `.jsonl`.
        sampling: how, and how many for each problem.
        seed: decides, with problem and sample, what is drawn.

    Raises StarsmithError for problems without prompts, where the model fails, the disk is full, or `out` is there and
    of something else.
    """
    refuse_samples_of_greedy(sampling)
    _refuse_without_prompt(benchmark, problems, data)
    asked = all_asked(problems, sampling, seed=seed)
    about = _about(benchmark, asked, data, model, sampling, seed)
    if (digest := _finished(out, about)) is not None:
        return Generated(path=out, completions=len(asked), made=0, about=about | digest)
    by_id = {problem.id: problem for problem in problems}
    journal_path = out.with_name(f".{out.name}.journal")
    with Journal(journal_path, about) as journal:
        batches = model.batches(asked, sampling)
        left = [batch for batch in batches if not all(each.key in journal for each in batch)]
        made = sum(map(len, left))
        with reporter.stage("generate", total=len(asked)) as progress:
            progress.advance(len(asked) - made)
            for found in model.completed(left, sampling):
                journal.add([_kept(benchmark, by_id[each.asked.task], each) for each in found])
                progress.advance(len(found))
        journal.write(out, (each.key for each in asked))
        digest = {"completions": len(asked), "sha256": _sha256(out)}
        provenance.write(out, about | digest)
        journal.remove()
    return Generated(path=out, completions=len(asked), made=made, about=about | digest)


def _kept(benchmark: Benchmark[Any], problem: Problem, made: Made) -> Made:
    """Return what the file is to hold: cut already, where whoever scores does not cut."""
    if benchmark.cut_when_scored:
        return made
    return Made(
        asked=made.asked,
        text=benchmark.truncated(problem, made.text),
        finish=made.finish,
        tokens=made.tokens,
        shortened=made.shortened,
    )


def _refuse_without_prompt(benchmark: Benchmark[Any], problems: Sequence[Problem], data: Data) -> None:
    """Raise StarsmithError, which says what is missing, for problems that can be scored but not asked."""
    bare = next((each for each in problems if not each.prompt and each.suffix is None), None)
    if bare is not None:
        missing = (f" {each.names[0]}, which prompts are made of, is missing: {each.where}." for each in data.missing)
        raise StarsmithError(f"{bare.id} of {benchmark.title} has no prompt.{''.join(missing)}")


def _about(
    benchmark: Benchmark[Any], asked: Sequence[Asked], data: Data, model: Model, sampling: Sampling, seed: int
) -> dict[str, Any]:
    prompts = hashlib.sha256()
    for each in asked:
        prompts.update(json.dumps([each.task, each.sample, each.prompt, each.suffix, each.stops]).encode())
    return {
        "record": RECORD_VERSION,
        "starsmith": __version__,
        "benchmark": {"name": benchmark.name, "version": benchmark.version, "options": dict(benchmark.options)},
        "data": [{"file": Path(file.path).name, "sha256": file.digest, "version": file.version} for file in data.files],
        "model": model.about(),
        "sampling": asdict(sampling),
        "seed": seed,
        "prompts": {"version": PROMPTS_VERSION, "sha256": prompts.hexdigest()},
    }


def _finished(out: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the digest of a generations file that is there and is the one that is asked for; None for none.

    Raises StarsmithError for one of something else, which is never written over.
    """
    if not out.exists():
        return None
    journal = out.with_name(f".{out.name}.journal")
    record = provenance.read(out)
    if record is None and journal.exists():
        # Ended between the last two steps; the journal has it all.
        return None
    digest = {key: (record or {}).get(key) for key in ("completions", "sha256")}
    if record != {**about, **digest}:
        raise StarsmithError(f"{out} is there already, of another model or other settings; name another --out.")
    if _sha256(out) != digest["sha256"]:
        raise StarsmithError(f"{out} was changed after it was made; remove it, or name another --out.")
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
