"""The benchmarks, by name. One is one class in one file; nothing else of the package knows any of them."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

from starsmith.errors import StarsmithError
from starsmith.evaluate.problem import Benchmark

PLACES: Final[Mapping[str, str]] = {
    "humaneval": "humaneval:HumanEval",
    "humaneval-plus": "humaneval_plus:HumanEvalPlus",
    "mbpp": "mbpp:Mbpp",
    "mbpp-plus": "mbpp_plus:MbppPlus",
    "multipl-e": "multipl_e:MultiplE",
    "humaneval-fix": "humaneval_fix:HumanEvalFix",
    "can-it-edit": "can_it_edit:CanItEdit",
    "ds-1000": "ds1000:Ds1000",
    "gsm8k-pal": "gsm8k:Gsm8kPal",
    "cruxeval-input": "crux_eval:CruxEvalInput",
    "cruxeval-output": "crux_eval:CruxEvalOutput",
    "fim-santacoder": "infilling:SantaCoderInfilling",
    "humaneval-infilling": "infilling:HumanEvalInfilling",
    "repobench": "repo_bench:RepoBench",
    "crosscodeeval": "cross_code_eval:CrossCodeEval",
    "asleep-at-the-keyboard": "asleep:AsleepAtTheKeyboard",
    "winobias": "wino_bias:WinoBias",
    "honest": "honest:Honest",
    "bold": "bold:Bold",
    "real-toxicity-prompts": "real_toxicity:RealToxicityPrompts",
}
"""Name: module and class. Loaded by whoever asks for one."""


def benchmark(name: str, options: Mapping[str, str] | None = None) -> Benchmark[Any]:
    """Return a benchmark under these options; the rest stand at the official recipe.

    Raises StarsmithError for an unknown name, option or value.
    """
    if name not in PLACES:
        raise StarsmithError(f"There is no benchmark {name!r}; there are {', '.join(PLACES)}.")
    module, _, cls = PLACES[name].partition(":")
    made: Benchmark[Any] = getattr(importlib.import_module(f"{__name__}.{module}"), cls)(options)
    return made
