"""The model card: what a model is, what it was trained on, and what is not known, from the record of its training.

The record is plain JSON, whoever wrote it. All its keys may be missing; the card then says so:

- `name`, `license`: of the model
- `data`: release, its digest, sources, documents, tokens … by any names, each told as it stands
- `filters`: what each rule of the corpus removed, by rule
- `licences`: how much of the data is under which licence, by licence
- `training`: steps, tokens, length, optimizer … by any names
- `evaluation`: a list of {`benchmark`, `metric`, `value`, `command`}

What this module does not do: it judges nothing, and invents nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starsmith.model.config import ModelConfig

_UNKNOWN = "Not recorded."


def model_card(config: ModelConfig, record: Mapping[str, Any], *, name: str) -> str:
    """Return the card as Markdown with a YAML head, as model hubs read it.

    >>> from starsmith.model.config import PRESETS
    >>> print(model_card(PRESETS["3b"], {}, name="mine").splitlines()[6])
    # mine
    """
    title = str(record.get("name") or name)
    head = ["library_name: transformers", "pipeline_tag: text-generation", "tags: [code, starcoder2]"]
    if record.get("license"):
        head.append(f"license: {json.dumps(str(record['license']))}")
    parts = [
        "\n".join(["---", *head, "---", "", f"# {_text(title)}"]),
        f"A StarCoder2 model of {config.parameters:,} parameters, trained with Starsmith.",
        "## Model\n\n" + _table(("field", "value"), _shape(config)),
        "## Data\n\n" + _pairs(record.get("data")),
        "## Filters\n\n" + _pairs(record.get("filters"), names=("rule", "removed")),
        "## Licences\n\n" + _licences(record.get("licences")),
        "## Training\n\n" + _pairs(record.get("training")),
        "## Evaluation\n\n" + _evaluation(record.get("evaluation")),
        _USE,
    ]
    return "\n\n".join(parts) + "\n"


_USE = """## Use

The model goes on with code, and fills gaps when it is given `<fim_prefix>` before, `<fim_suffix>` after and
`<fim_middle>`. It follows no instructions. What it writes may be wrong or insecure, and may repeat code it was trained
on, whose licence then applies: the table above says which ones there are."""


def _shape(config: ModelConfig) -> Iterable[tuple[str, object]]:
    return [(key, value) for key, value in config.to_hf().items() if key not in ("architectures", "use_cache")]


def _pairs(found: Any, names: tuple[str, str] = ("key", "value")) -> str:
    if not isinstance(found, Mapping) or not found:
        return _UNKNOWN
    return _table(names, found.items())


def _licences(found: Any) -> str:
    if not isinstance(found, Mapping) or not found or not all(isinstance(n, int | float) for n in found.values()):
        return _UNKNOWN
    total = sum(found.values()) or 1
    ordered = sorted(found.items(), key=lambda item: (-item[1], str(item[0])))
    return _table(("licence", "amount", "share"), [(key, n, f"{100 * n / total:.2f} %") for key, n in ordered])


def _evaluation(found: Any) -> str:
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        return "None has been run."
    columns = ("benchmark", "metric", "value", "command")
    rows = [[each.get(column, "") for column in columns] for each in found if isinstance(each, Mapping)]
    return _table(columns, rows)


def _table(names: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _text(value: str) -> str:
    """Return text that is no markup, on one line: names in a record come from other people's repositories."""
    line = " ".join(value.split())
    for character in "\\`*[]|":
        line = line.replace(character, f"\\{character}")
    return line.replace("&", "&amp;").replace("<", "&lt;")
