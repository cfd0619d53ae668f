"""Markdown: tables as the dataset card has them. Foreign names in them go through `foreign_text.markdown_code`."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, text: int = 1) -> str:
    """Return a Markdown table whose first `text` columns are text and whose others are numbers.

    >>> print(table(["kind", "count"], [("a", 1)]), end="")
    | kind | count |
    |---|--:|
    | a | 1 |
    """
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * text}{'--:|' * (len(head) - text)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"
