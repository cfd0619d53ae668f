"""The commands of `starsmith eval` that ask a model: generate, and run, which scores what it wrote as well."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starsmith.command import add_command, number_from, positive, print_json
from starsmith.errors import StarsmithError, UsageError
from starsmith.eval_cli import add_benchmark, add_scoring, chosen_benchmark, data_path, scoring_job, show_result

if TYPE_CHECKING:
    from starsmith.evaluate.generators.generating import Generated
    from starsmith.evaluate.generators.opening import ModelOptions
    from starsmith.evaluate.problem import Sampling
    from starsmith.progress import Reporter

GENERATIONS_FILE: Final = "generations.jsonl"
"""In the folder of a result."""
_OF_GENERATING: Final = ("temperature", "top_p", "max_tokens", "seed", "tokenizer", "batch", "model_name")


def add_running(actions: Any) -> None:
    """Add the commands to those of `eval`."""
    _add_run(actions)
    _add_generate(actions)
    _add_memorisation(actions)


def _add_run(actions: Any) -> None:
    summary = "Let a model solve a benchmark, and judge it. Killed and started again, it goes on where it was."
    command = add_command(actions, "run", summary, run_run)
    add_benchmark(command)
    _add_model(command)
    add_scoring(command)


def _add_generate(actions: Any) -> None:
    summary = "Let a model solve a benchmark, and only write down what it says."
    command = add_command(actions, "generate", summary, run_generate)
    add_benchmark(command)
    _add_model(command)
    command.add_argument("--out", metavar="G", required=True, help="the file of generations to write, .jsonl")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_memorisation(actions: Any) -> None:
    summary = "Say how often a model, given the beginning of a document of its pack, writes the document."
    command = add_command(actions, "memorisation", summary, run_memorisation)
    command.add_argument("pack", metavar="PACK", help="the pack that the model was trained on")
    _add_model(command)
    command.add_argument("--prompts", metavar="N", type=positive, default=100, help="documents (default: 100)")
    command.add_argument("--samples", metavar="N", type=positive, help="completions of each (default: 1)")
    command.add_argument(
        "--held-out", action="store_true", help="take documents that the model was not trained on, for comparison"
    )
    command.add_argument("--out", metavar="R", required=True, help="the folder of the result")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="M",
        required=True,
        help="the folder of a model or a run, a server's address (http://…/v1), or a file of generations",
    )
    command.add_argument("--tokenizer", metavar="T", help="the folder of the tokenizer (default: the model's own)")
    command.add_argument(
        "--temperature", metavar="T", type=number_from(0), help="0 is greedy (default: the benchmark's)"
    )
    command.add_argument("--top-p", metavar="P", type=number_from(0), help="share of probability to draw from")
    command.add_argument("--max-tokens", metavar="N", type=positive, help="the longest completion, in tokens")
    command.add_argument("--seed", metavar="N", type=int, help="decides what is drawn (default: 0)")
    command.add_argument("--batch", metavar="N", type=positive, help="rows at once, of a model in a folder")
    command.add_argument("--device", metavar="D", default="cpu", help="where a model in a folder runs (default: cpu)")
    command.add_argument("--model-name", metavar="NAME", help="what a server calls the model (default: its only one)")
    command.add_argument(
        "--gap",
        choices=("suffix", "sentinels"),
        default="suffix",
        help="how a server is asked to fill a gap: by `suffix`, or by sentinels in the prompt (default: suffix)",
    )
    command.add_argument("--parallel", metavar="N", type=positive, default=4, help="requests at a time (default: 4)")
    command.add_argument(
        "--timeout",
        metavar="S",
        type=number_from(1),
        default=600.0,
        help="seconds until an answer counts as lost (default: 600)",
    )


def run_run(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate.generators.opening import is_generations
    from starsmith.evaluate.scoring import score
    from starsmith.progress import reporter

    generations = Path(arguments.model)
    with reporter(quiet=arguments.json) as progress:
        if is_generations(arguments.model):
            _refuse_what_has_no_meaning(arguments)
        else:
            generations = _generated(arguments, Path(arguments.out) / GENERATIONS_FILE, progress).path
        result = score(scoring_job(arguments, generations), progress)
    show_result(result, arguments)


def _refuse_what_has_no_meaning(arguments: argparse.Namespace) -> None:
    for name in _OF_GENERATING:
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{arguments.model} is a file of generations: {option} has no meaning. Leave it out.")


def run_generate(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate.generators.opening import is_generations
    from starsmith.progress import reporter

    if is_generations(arguments.model):
        raise UsageError(f"{arguments.model} is a file of generations already. Score it with `starsmith eval score`.")
    if not arguments.out.endswith(".jsonl"):
        raise UsageError("--out names a file of JSON lines; its name ends in .jsonl.")
    with reporter(quiet=arguments.json) as progress:
        made = _generated(arguments, Path(arguments.out), progress)
    if arguments.json:
        print_json({"generations": str(made.path), "made": made.made, **made.about})
        return
    print(f"{made.completions:,} completions in {made.path}, {made.made:,} of them made now.")


def _generated(arguments: argparse.Namespace, out: Path, progress: "Reporter") -> "Generated":
    from starsmith.evaluate.dataset import load
    from starsmith.evaluate.generators.generating import generate
    from starsmith.evaluate.generators.opening import open_model
    from starsmith.evaluate.scoring import chosen_problems

    made = chosen_benchmark(arguments)
    sampling = _sampling(arguments, made.sampling)
    problems, data = load(made.sources(), data_path(arguments), benchmark=made.title, make=made.problems)
    ids = [name for name in arguments.problems.split(",") if name]
    return generate(
        made,
        chosen_problems(problems, made, ids, arguments.first),
        data,
        open_model(arguments.model, _model_options(arguments)),
        out=out,
        sampling=sampling,
        seed=arguments.seed or 0,
        reporter=progress,
    )


def _model_options(arguments: argparse.Namespace) -> "ModelOptions":
    from starsmith.evaluate.generators.opening import ModelOptions

    return ModelOptions(
        tokenizer=Path(arguments.tokenizer) if arguments.tokenizer else None,
        device=arguments.device,
        batch=arguments.batch or 0,
        name=arguments.model_name or "",
        gap=arguments.gap,
        parallel=arguments.parallel,
        timeout=arguments.timeout,
    )


def run_memorisation(arguments: argparse.Namespace) -> None:
    from starsmith.evaluate import memorisation
    from starsmith.evaluate.generations import Generations
    from starsmith.evaluate.generators.generating import generate
    from starsmith.evaluate.generators.opening import open_model
    from starsmith.evaluate.result import replace_file
    from starsmith.format.pack_file import Pack
    from starsmith.progress import reporter

    pack, made = Pack.open(arguments.pack), memorisation.MemorisationProbe()
    source: memorisation.From = "held-out" if arguments.held_out else "training"
    problems, data = memorisation.prompts(pack, number=arguments.prompts, seed=arguments.seed or 0, source=source)
    out = Path(arguments.out)
    with reporter(quiet=arguments.json) as progress:
        written = generate(
            made,
            problems,
            data,
            open_model(arguments.model, _model_options(arguments)),
            out=out / GENERATIONS_FILE,
            sampling=_sampling(arguments, made.sampling),
            seed=arguments.seed or 0,
            reporter=progress,
        )
    texts: dict[str, list[str]] = {}
    for each in Generations(written.path, [problem.id for problem in problems]):
        texts.setdefault(each.task, []).append(each.text)
    found = {"prompts": source, **memorisation.plain(memorisation.memorised(pack, texts)), "generations": written.about}
    replace_file(out / "memorisation.json", json.dumps(found, indent=1) + "\n")
    if arguments.json:
        print_json(found)
        return
    share = found["share"]
    print(
        f"{100 * share['value']:.1f}% of completions (95% interval {100 * share['low']:.1f} to "
        f"{100 * share['high']:.1f}, {share['problems']:,} documents, {source}) copy {found['window']} tokens or more."
    )
    for copy in sorted(found["copies"].values(), key=lambda each: -each["tokens"])[:10]:
        print(f"  {copy['tokens']:>4} tokens of {copy['swhid']} ({copy['repo_name']}{copy['path']})")
    print(f"Result in {out / 'memorisation.json'}")


def _sampling(arguments: argparse.Namespace, usual: "Sampling") -> "Sampling":
    """Return the benchmark's way of sampling with what the options change; greedy means one sample."""
    names = {"temperature": arguments.temperature, "top_p": arguments.top_p, "max_tokens": arguments.max_tokens}
    changed = replace(usual, **{name: value for name, value in names.items() if value is not None})
    if not 0 < changed.top_p <= 1:
        raise UsageError(f"--top-p is {changed.top_p:g}; a share above 0 and up to 1 was expected.")
    samples = arguments.samples or (1 if changed.temperature == 0 else changed.samples)
    if samples > 1 and changed.temperature == 0:
        raise StarsmithError(f"{samples} samples at temperature 0 would all be the same; give --temperature.")
    return replace(changed, samples=samples)
