"""A run: from a recipe to a finished model, in one go or many.

Everything that can be wrong with recipe, pack and machine is looked for before the first step. A folder holds the run:
`checkpoints/`, `metrics.jsonl`, `loss.svg`, and in the end `model/`, which others can load.
"""

import dataclasses
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from starsmith.errors import StarsmithError
from starsmith.format.pack_file import Pack
from starsmith.model import checkpoint as folders
from starsmith.model.config import ModelConfig
from starsmith.model.export_hf import export_hf
from starsmith.model.transformer import StarCoder2
from starsmith.progress import Reporter
from starsmith.train import checkpoint
from starsmith.train.batches import Batches, Row
from starsmith.train.evaluation import bits_per_byte
from starsmith.train.loop import Loop
from starsmith.train.metrics import MetricsFile, Spikes, TensorBoard, peak_of, plot, words
from starsmith.train.optimizer import build_optimizer
from starsmith.train.processes import Processes, assign, draw, processes, shard, whole
from starsmith.train.recipe import TrainingRecipe, for_processes
from starsmith.train.record import training_record
from starsmith.train.shape import check_memory, config_of

CHECKPOINTS: Final = "checkpoints"
METRICS: Final = "metrics.jsonl"
PLOT: Final = "loss.svg"
MODEL: Final = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a run has come to. `model` is None if it was asked to stop before its last step."""

    out: Path
    model: Path | None
    steps: int
    tokens: int
    seconds: float
    loss: float | None
    bits_per_byte: float | None

    def plain(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "out": str(self.out), "model": self.model and str(self.model)}


def train(recipe: TrainingRecipe, *, resume: bool, reporter: Reporter) -> Trained:
    """Train what a recipe says; with `resume` go on from the last checkpoint.

    Raises StarsmithError for everything that is at fault outside the code.
    """
    out = Path(recipe.run.out)
    earlier = checkpoint.names(out / CHECKPOINTS)
    if earlier and not resume:
        raise StarsmithError(
            f"{out} holds a run already, up to {earlier[-1]}. Go on with --resume, or set another `out`."
        )
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with processes(recipe.training.device) as among:
        return _Run(recipe, among, reporter).finished(out / CHECKPOINTS / earlier[-1] if earlier else None)


class _Run:
    """One process's part of a run."""

    def __init__(self, recipe: TrainingRecipe, among: Processes, reporter: Reporter) -> None:
        self.recipe, self.among, self.reporter = recipe, among, reporter
        self.out = Path(recipe.run.out)
        self.pack = Pack.open(recipe.data.pack)
        earlier = folders.read_config(Path(recipe.run.start_from)) if recipe.run.start_from else None
        self.config = config_of(recipe, vocabulary=self.pack.vocabulary, earlier=earlier)
        for_processes(recipe, among.count)
        self.batches = Batches(
            [Row.of(shards) for shards in self.pack.epochs], recipe.data.sequence_length, recipe.run.seed
        )
        self.needed = check_memory(self.config, recipe, among.device, processes=among.count)
        self.boards: list[MetricsFile | TensorBoard] = []

    def finished(self, start: Path | None) -> Trained:
        """Train to the end, from a checkpoint or from the start."""
        loop = self._loop()
        if start is not None:
            self._go_on(loop, start)
        if self.among.is_first:
            self._open_metrics(loop)
        with loop.listening():
            self._steps(loop)
        return self._end(loop)

    def _loop(self) -> Loop:
        recipe, among = self.recipe, self.among
        model = self._model()
        optimizer = build_optimizer(model.named_parameters(), recipe.optimizer)
        torch.manual_seed(recipe.run.seed + among.rank)
        loss = torch.compile(model.loss) if recipe.training.compile else model.loss
        name = torch.cuda.get_device_name() if among.device.type == "cuda" else ""
        peak = peak_of(name)
        return Loop(
            recipe=recipe,
            model=model,
            loss=loss,
            optimizer=optimizer,
            batches=self.batches,
            among=among,
            flops_per_token=self.config.flops_per_token(recipe.data.sequence_length),
            peak=peak and peak * among.count,
            spikes=Spikes(recipe.training.spike),
        )

    def _model(self) -> StarCoder2:
        """Return the model with its first weights, divided among the processes."""
        recipe, among = self.recipe, self.among
        with torch.device("meta"):
            model = StarCoder2(self.config)
        model.recompute = recipe.training.checkpoint_activations
        precision = torch.bfloat16 if recipe.training.precision == "bfloat16" else torch.float32
        shard(model, model.layers, among, precision=precision)
        model.to_empty(device=among.device)
        if recipe.run.start_from:
            take_over(model, Path(recipe.run.start_from))
        else:
            draw(model, deviation=self.config.initializer_range, seed=recipe.run.seed)
        return model.train()

    def _go_on(self, loop: Loop, start: Path) -> None:
        """Set everything to a checkpoint of the same run."""
        position = checkpoint.load(start, loop.model, loop.optimizer, self.among)
        if position.pack != self.pack.fingerprint:
            raise StarsmithError(f"{start} was trained on another pack than {self.recipe.data.pack}. Name that one.")
        if position.recipe != self.recipe.fingerprint:
            raise StarsmithError(
                f"{start} was trained by another recipe; a run goes on as it began. Undo the change, or set another "
                "`out` with `start_from`."
            )
        loop.step, loop.samples, loop.seconds = position.step, position.samples, position.seconds
        loop.spikes = Spikes(self.recipe.training.spike, position.losses)
        self._say(f"Going on from {start.name}, {loop.batches.epoch(loop.samples):.2f} epochs in.")

    def _open_metrics(self, loop: Loop) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.boards.append(MetricsFile(self.out / METRICS, step=loop.step))
        if self.recipe.checkpoints.tensorboard:
            self.boards.append(TensorBoard(self.out / "tensorboard"))
        self._say(
            f"{self.config.parameters:,} parameters, {self.batches.epochs[0].tokens:,} tokens in an epoch; a step "
            f"needs about {self.needed / 1e9:.2f} GB in each of {self.among.count} processes."
        )

    def _say(self, text: str) -> None:
        if self.among.is_first:
            self.reporter.note(text)

    def _write(self, line: dict[str, Any]) -> None:
        for board in self.boards:
            board.write(line)

    def _steps(self, loop: Loop) -> None:
        """Take the steps that are left, until the last or until asked to stop."""
        total, keep = self.recipe.training.steps, self.recipe.checkpoints
        loop.measured()
        with self.reporter.stage("train", total=total) as progress:
            progress.advance(loop.step)
            while loop.step < total and not self._is_asked_to_stop(loop):
                line = loop.advance(lambda why, places: self._refused(loop, why, places))
                progress.advance(1)
                if line is not None and (loop.step % keep.log_every == 0 or loop.step in (1, total)):
                    line |= loop.measured()
                    self._write(line)
                    self._say(words(line, steps=total))
                if keep.evaluate_every and loop.step % keep.evaluate_every == 0 and loop.step < total:
                    self._evaluated(loop)
                if loop.step % keep.every == 0 and loop.step < total:
                    self._save(loop)
        if loop.step:
            self._save(loop)

    def _is_asked_to_stop(self, loop: Loop) -> bool:
        """Whether any process was: they all stop at the same step."""
        asked = torch.tensor(float(loop.is_asked_to_stop), device=self.among.device)
        return bool(self.among.sum(asked))

    def _refused(self, loop: Loop, why: str, places: Iterable[tuple[int, int]]) -> None:
        """Name the documents of a batch that is not learnt from."""
        documents = sorted({run.swhid for place in places for run in self._runs(*place)})
        self._write({"step": loop.step + 1, "refused": why, "documents": documents})
        self._say(f"Step {loop.step + 1:,}: {why}; {len(documents):,} documents, named in {METRICS}.")

    def _runs(self, epoch: int, token: int) -> Iterable[Any]:
        """Return which documents the tokens of one sample come from."""
        row, left = self.batches.epochs[epoch], self.recipe.data.sequence_length + 1
        while left:
            number, offset = row.place(token)
            count = min(left, len(row.shards[number]) - offset)
            yield from self.pack.runs(epoch, number, offset, offset + count)
            token, left = token + count, left - count

    def _evaluated(self, loop: Loop) -> float | None:
        value = bits_per_byte(loop.model, self.pack, self.recipe, self.among)
        if value is not None:
            self._write({"step": loop.step, "bits_per_byte": value})
            self._say(f"step {loop.step:,}: {value:.3f} bits per byte on held-out text")
            loop.measured()
        return value

    def _save(self, loop: Loop) -> None:
        position = checkpoint.Position(
            step=loop.step,
            samples=loop.samples,
            losses=loop.spikes.losses,
            seconds=loop.seconds,
            recipe=self.recipe.fingerprint,
            pack=self.pack.fingerprint,
        )
        folder = self.out / CHECKPOINTS
        checkpoint.save(folder, loop.model, loop.optimizer, position, self.among, keep=self.recipe.checkpoints.keep)

    def _end(self, loop: Loop) -> Trained:
        """Measure and write the finished model, if it is finished."""
        is_done = loop.step >= self.recipe.training.steps
        bits = self._evaluated(loop) if is_done else None
        model = self._write_model(loop, bits) if is_done else None
        lines = [board.lines() for board in self.boards if isinstance(board, MetricsFile)]
        if lines:
            (self.out / PLOT).write_text(plot(lines[0]), encoding="utf-8")
        self.among.wait()
        last = loop.spikes.losses[-1:]
        return Trained(
            out=self.out,
            model=model,
            steps=loop.step,
            tokens=loop.samples * self.recipe.data.sequence_length,
            seconds=loop.seconds,
            loss=last[0] if last else None,
            bits_per_byte=bits,
        )

    def _write_model(self, loop: Loop, bits: float | None) -> Path | None:
        """Write the model as others load it, with its tokenizer and a record of how it came about."""
        whole_model = gathered(loop.model, self.config, self.among)
        if whole_model is None:
            return None
        folder = self.out / MODEL
        shutil.rmtree(folder, ignore_errors=True)
        record = training_record(
            self.recipe,
            self.pack,
            steps=loop.step,
            tokens=loop.samples * self.recipe.data.sequence_length,
            seconds=loop.seconds,
        )
        if bits is not None:
            record["evaluation"] = [
                {"benchmark": "held-out text", "metric": "bits per byte", "value": round(bits, 4), "command": "train"}
            ]
        export_hf(whole_model, folder, tokenizer=self.pack.tokenizer, record=record)
        return folder


def take_over(model: StarCoder2, folder: Path) -> None:
    """Set the weights of a model, divided or not, to those of a model folder."""
    known = dict(folders.load(folder).named_parameters())
    for name, parameter in model.named_parameters():
        assign(parameter, known[name].float())


def gathered(model: nn.Module, config: ModelConfig, among: Processes) -> StarCoder2 | None:
    """Return a model that has all weights, in the first process; None in all others. Every process must call this."""
    with torch.device("meta"):
        found = StarCoder2(config)
    if among.is_first:
        found.to_empty(device="cpu")
    targets = dict(found.named_parameters())
    for name, parameter in model.named_parameters():
        value = whole(parameter)
        if among.is_first:
            assign(targets[name], value)
    return found if among.is_first else None
