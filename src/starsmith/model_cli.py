"""The commands from a corpus to a model: tokenizer, pack, train, generate, export. Parses, calls, prints, like `cli`.

PyTorch and its company are loaded by the command that needs them; where they are missing it says how to get them.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starsmith.command import add_command, number_from, positive, print_json
from starsmith.errors import StarsmithError, UsageError

if TYPE_CHECKING:
    from starsmith.format.sentinels import Segment
    from starsmith.model.generate import Generation, Generator
    from starsmith.train.recipe import TrainingRecipe

_EXTRA: Final = {"torch", "tokenizers", "tiktoken", "safetensors", "gguf", "starlette", "uvicorn"}
_READABLE: Final = 200_000
"""Bytes of a file beside the one that is written, above which it is left out of a prompt."""
_MOST_FILES: Final = 64


def add_model_commands(commands: Any) -> None:
    """Add the commands to the command line."""
    _add_tokenizer(commands)
    _add_pack(commands)
    _add_train(commands)
    _add_generate(commands)
    _add_export(commands)
    _add_serve(commands)


def _add_tokenizer(commands: Any) -> None:
    summary = "Make a tokenizer from a corpus."
    group = commands.add_parser("tokenizer", help=summary, description=summary)
    actions = group.add_subparsers(title="commands", dest="action", metavar="COMMAND", required=True)
    command = add_command(actions, "train", "Train a tokenizer on a sample of a release.", run_tokenizer)
    _add_corpus(command)
    command.add_argument("--vocabulary", metavar="N", type=positive, help="entries, sentinels among them")
    command.add_argument("--out", metavar="T", help="the folder to write (default: the recipe's)")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_corpus(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "corpus",
        metavar="RECIPE|WORKSPACE",
        help="a training recipe, or the folder of a corpus or of a release, or its URI",
    )


def _add_pack(commands: Any) -> None:
    command = add_command(commands, "pack", "Make shards of tokens from a release, ready to train on.", run_pack)
    _add_corpus(command)
    command.add_argument("--tokenizer", metavar="T", help="the folder of the tokenizer (default: the recipe's)")
    command.add_argument("--out", metavar="P", help="the folder to write, or its s3:// URI (default: the recipe's)")
    command.add_argument("--like", metavar="PACK", help="take tokenizer, settings and rates from an earlier pack")
    command.add_argument("--max-tokens", metavar="N", type=positive, help="about how many tokens an epoch may have")
    command.add_argument("--epochs", metavar="N", type=positive, help="passes over the corpus, each drawn anew")
    command.add_argument("--workers", metavar="N", type=positive, help="processes to use (default: one per core)")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_train(commands: Any) -> None:
    summary = "Train a model on a pack. On many GPUs: torchrun --nproc-per-node N -m starsmith.train RECIPE."
    command = add_command(commands, "train", summary, run_train)
    command.add_argument("recipe", metavar="RECIPE", help="the training recipe, a TOML file")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    command.add_argument("--json", action="store_true", help="print one JSON object and no progress")


def _add_generate(commands: Any) -> None:
    command = add_command(commands, "generate", "Let a model write code; it appears as it comes.", run_generate)
    _add_model(command)
    command.add_argument("--prompt", metavar="TEXT", help="what to go on with; - reads it from standard input")
    command.add_argument("--prefix", metavar="TEXT", help="what stands before a gap, @FILE reads a file")
    command.add_argument("--suffix", metavar="TEXT", help="what stands after the gap, @FILE reads a file")
    command.add_argument("--repo", metavar="DIR", help="a folder whose files the model is told of first")
    command.add_argument("--file", metavar="PATH", help="the file in DIR to go on with")
    command.add_argument("--max-tokens", metavar="N", type=positive, default=128, help="tokens to add (default: 128)")
    command.add_argument(
        "--temperature", metavar="T", type=number_from(0), default=0.0, help="0, the default, is greedy"
    )
    command.add_argument(
        "--top-p", metavar="P", type=number_from(0), default=1.0, help="share of probability to draw from"
    )
    command.add_argument("--top-k", metavar="K", type=positive, help="draw from the K likeliest tokens")
    command.add_argument("--seed", metavar="N", type=int, default=0, help="decides what is drawn (default: 0)")
    command.add_argument(
        "--stop", metavar="TEXT", action="append", default=[], help="end here; may be given more than once"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object with log-probabilities")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a model's folder, or that of a training run")
    command.add_argument("--tokenizer", metavar="T", help="the folder of the tokenizer (default: the model's own)")


def _add_export(commands: Any) -> None:
    command = add_command(commands, "export", "Write a model in the form that other programs load.", run_export)
    _add_model(command)
    command.add_argument("--format", choices=("hf", "gguf"), required=True, help="for transformers, or for llama.cpp")
    command.add_argument("--out", metavar="D", required=True, help="the folder to make (hf), or the file (gguf)")
    command.add_argument(
        "--type",
        choices=("f32", "f16", "bf16", "q8_0"),
        help="how weights are stored (default: as they are; gguf: f16)",
    )


def _add_serve(commands: Any) -> None:
    summary = "Serve a model over HTTP as OpenAI's completions API does, for editors and evaluation."
    command = add_command(commands, "serve-model", summary, run_serve)
    _add_model(command)
    command.add_argument(
        "--host", metavar="H", default="127.0.0.1", help="the address to listen on (default: this machine)"
    )
    command.add_argument("--port", metavar="N", type=positive, default=8000, help="the port (default: 8000)")
    command.add_argument(
        "--sentinels", action="store_true", help="read <fim_prefix> and its like in prompts, as some editors write them"
    )


@contextmanager
def _extra() -> Iterator[None]:
    """Say how to get what is missing of the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise StarsmithError(f"{error}; this command needs it. Run `pip install 'starsmith[model]'`.") from error


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What a command is given: a training recipe, or a release with the defaults of one."""

    recipe: "TrainingRecipe"
    release: str

    def folder(self, given: str | None, name: str) -> str:
        """Return a folder that is given, or else that of the recipe."""
        found: str = given or getattr(self.recipe.data, name)
        if not found:
            raise UsageError(f"Give --out, or a recipe with [data] {name}.")
        return found


def _corpus(given: str) -> _Corpus:
    from starsmith.train.recipe import load, loads

    if not given.endswith(".toml"):
        return _Corpus(loads('[data]\npack = "."', base=Path(), name="defaults"), given)
    recipe = load(given)
    if not recipe.data.workspace:
        raise StarsmithError(f"{given}: data.workspace is missing; expected the corpus that `starsmith build` made.")
    return _Corpus(recipe, recipe.data.workspace)


def run_tokenizer(arguments: argparse.Namespace) -> None:
    with _extra():
        from starsmith.format.released_files import open_release
        from starsmith.format.tokenizer_training import train_tokenizer
    from starsmith.progress import reporter
    from starsmith.storage import Store

    corpus = _corpus(arguments.corpus)
    out = corpus.folder(arguments.out, "tokenizer")
    settings = corpus.recipe.tokenizer
    if arguments.vocabulary:
        settings = replace(settings, vocabulary=arguments.vocabulary)
    with reporter(quiet=arguments.json) as progress:
        trained = train_tokenizer(open_release(corpus.release), settings, progress)
    trained.tokenizer.write(Store.at(out))
    if arguments.json:
        print_json({"tokenizer": out, **trained.tokenizer.record})
        return
    print(f"{trained.vocabulary:,} entries in {out}. Bytes per token:")
    for each in sorted(trained.fertility, key=lambda each: -each.bytes)[:20]:
        print(f"  {each.language or 'unknown':<24} {each.bytes_per_token:5.2f}")


def run_pack(arguments: argparse.Namespace) -> None:
    with _extra():
        from starsmith.format.pack import PackOptions, pack
        from starsmith.format.pack_file import Pack
        from starsmith.format.tokenizer import Tokenizer
    from starsmith.engines.local import LocalEngine
    from starsmith.progress import reporter

    corpus = _corpus(arguments.corpus)
    out = corpus.folder(arguments.out, "pack") if arguments.corpus.endswith(".toml") else arguments.out
    if not out:
        raise UsageError("Give --out, or a recipe with [data] pack.")
    changes = {"max_tokens": arguments.max_tokens, "epochs": arguments.epochs}
    place = arguments.tokenizer or corpus.recipe.data.tokenizer
    options = PackOptions(
        tokenizer=Tokenizer.open(place) if place else None,
        settings=replace(corpus.recipe.pack, **{name: value for name, value in changes.items() if value}),
        format=corpus.recipe.format,
        rules=corpus.recipe.mixture,
        like=Pack.open(arguments.like) if arguments.like else None,
    )
    workers = arguments.workers or len(os.sched_getaffinity(0))
    with reporter(quiet=arguments.json) as progress:
        engine = LocalEngine(workers=workers, spill="")
        try:
            packed = pack(corpus.release, out, options, engine=engine, reporter=progress)
        finally:
            engine.close()
    if arguments.json:
        print_json(packed.plain())
        return
    tokens = sum(each.tokens for each in packed.record.epochs)
    print(
        f"{tokens:,} tokens in {len(packed.record.epochs)} epochs, {packed.record.held_out.tokens:,} held out; "
        f"{packed.written} of {packed.shards} shards written in {packed.seconds:.1f} s: {packed.out}"
    )


def run_train(arguments: argparse.Namespace) -> None:
    from starsmith.train.threads import let_threads_sleep

    let_threads_sleep()
    with _extra():
        from starsmith.train.recipe import load
        from starsmith.train.run import train
    from starsmith.progress import reporter

    with reporter(quiet=arguments.json) as progress:
        result = train(load(arguments.recipe), resume=arguments.resume, reporter=progress)
    if arguments.json:
        print_json(result.plain())
    elif result.model is None:
        print(f"Stopped after step {result.steps:,}. Go on with `starsmith train {arguments.recipe} --resume`.")
    else:
        bits = "" if result.bits_per_byte is None else f", {result.bits_per_byte:.3f} bits per byte on held-out text"
        print(f"{result.steps:,} steps, {result.tokens:,} tokens{bits}: {result.model}")


def _generator(arguments: argparse.Namespace) -> "Generator":
    with _extra():
        from starsmith.model.checkpoint import load, model_folder
        from starsmith.model.generate import Generator
    folder = model_folder(Path(arguments.model))
    return Generator(load(folder), _tokenizer(arguments, folder))


def _tokenizer(arguments: argparse.Namespace, folder: Path) -> Any:
    from starsmith.format.tokenizer import Tokenizer

    return Tokenizer.open(arguments.tokenizer or str(folder))


def run_generate(arguments: argparse.Namespace) -> None:
    prompt = _prompt(arguments)
    generator = _generator(arguments)
    how = _generation(arguments)
    if arguments.json:
        (completion,) = generator.generate([prompt], how)
        print_json(
            {
                "text": completion.text,
                "finish": completion.finish,
                "tokens": [{"id": each.id, "logprob": each.logprob} for each in completion.scores],
            }
        )
        return
    if arguments.prompt and arguments.prompt != "-":
        sys.stdout.write(arguments.prompt)
    for piece in generator.stream([prompt], how):
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    print()


def _generation(arguments: argparse.Namespace) -> "Generation":
    from starsmith.model.generate import Generation
    from starsmith.model.sampling import Sampling

    return Generation(
        max_tokens=arguments.max_tokens,
        sampling=Sampling(
            temperature=arguments.temperature, top_p=arguments.top_p, top_k=arguments.top_k or 0, seed=arguments.seed
        ),
        stop=tuple(arguments.stop),
        top_logprobs=0 if arguments.json else None,
    )


def _prompt(arguments: argparse.Namespace) -> "list[Segment]":
    """Return the prompt that the options describe."""
    from starsmith.format import fill_in_middle

    ways = [
        arguments.prompt is not None,
        arguments.prefix is not None or arguments.suffix is not None,
        bool(arguments.repo),
    ]
    if sum(ways) != 1 or bool(arguments.repo) != bool(arguments.file):
        raise UsageError("Give --prompt TEXT, or --prefix and --suffix, or --repo DIR with --file PATH.")
    if arguments.prompt is not None:
        return [sys.stdin.read() if arguments.prompt == "-" else arguments.prompt]
    if arguments.repo:
        return _repository_prompt(Path(arguments.repo), arguments.file)
    prefix, suffix = (_text(value or "") for value in (arguments.prefix, arguments.suffix))
    return [*fill_in_middle.prompt(prefix=prefix, suffix=suffix)]


def _text(given: str) -> str:
    return _read(Path(given[1:])) if given.startswith("@") else given


def _read(path: Path) -> str:
    from starsmith.plain_file import read_plain

    try:
        return read_plain(path).decode("utf-8")
    except UnicodeDecodeError:
        raise StarsmithError(f"{path} is not UTF-8 text.") from None


def _repository_prompt(folder: Path, path: str) -> "list[Segment]":
    """Return the files of a folder, and last the one to go on with, as training shows a repository."""
    from starsmith.format.repository import completion_prompt

    if not folder.is_dir():
        raise StarsmithError(f"{folder} is no folder.")
    target = folder / path
    begun = _read(target) if target.exists() else ""
    others: list[tuple[str, str]] = []
    for each in sorted(folder.rglob(f"*{target.suffix}")):
        name = each.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if is_hidden or each.is_symlink() or not each.is_file() or each == target or each.stat().st_size > _READABLE:
            continue
        others.append((f"/{name.as_posix()}", _read(each)))
    return [*completion_prompt(folder.resolve().name, others[:_MOST_FILES], path=f"/{path}", prefix=begun)]


def run_export(arguments: argparse.Namespace) -> None:
    with _extra():
        from starsmith.model.checkpoint import load, model_folder
        from starsmith.model.export_gguf import export_gguf
        from starsmith.model.export_hf import TYPES, export_hf
        from starsmith.model.training_record import read_record
    folder, out = model_folder(Path(arguments.model)), Path(arguments.out)
    model, tokenizer = load(folder), _tokenizer(arguments, folder)
    if arguments.format == "gguf":
        export_gguf(model, tokenizer, out, type_name=arguments.type or "f16", name=out.stem)
    else:
        if arguments.type not in (None, *TYPES):
            raise UsageError(f"--type {arguments.type} is for --format gguf.")
        kind = TYPES[arguments.type] if arguments.type else None
        export_hf(model, out, tokenizer=tokenizer, record=read_record(folder), dtype=kind)
    print(out)


def run_serve(arguments: argparse.Namespace) -> None:
    generator = _generator(arguments)
    with _extra():
        from starsmith.model.server import serve
    name = Path(arguments.model).resolve().name
    print(f"Serving {name} at http://{arguments.host}:{arguments.port}/v1 (Ctrl-C ends it).", flush=True)
    serve(generator, name=name, host=arguments.host, port=arguments.port, sentinels=arguments.sentinels)
