"""Comparisons of a test that runs in the program's own process, where a value may claim to equal everything.

A value that equals what nobody has seen, or lies both below and above another, lies. The test's own `==` and `<` are
rewritten to notice it. It guards against the simple lie only: the program's process can be made to do anything.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

NAME = "__compared__"
_BACKWARDS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "Lt": (operator.lt, operator.gt),
    "LtE": (operator.le, operator.gt),
    "Gt": (operator.gt, operator.lt),
    "GtE": (operator.ge, operator.lt),
}


class Forged(BaseException):
    """A comparison that cannot be true was said to be."""


def compared(kind: str, left: Any, right: Any) -> Any:
    """Return the outcome of a comparison: `Eq`, `Lt` … as in `ast`. Raises Forged for one that cannot be."""
    if kind == "Eq":
        outcome = left == right
        if outcome is True and (_everything(left) or _everything(right)):
            raise Forged("a value that equals everything")
        return outcome
    forwards, backwards = _BACKWARDS[kind]
    outcome = forwards(left, right)
    if outcome is True and backwards(left, right) is True:
        raise Forged("a value that is below and above another at once")
    return outcome


def _everything(value: Any) -> bool:
    try:
        return (value == object()) is True
    except Exception:  # noqa: BLE001 (an honest comparison may only know its own kind)
        return False


class _Rewritten(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        kind = type(node.ops[0]).__name__
        if len(node.ops) > 1 or (kind != "Eq" and kind not in _BACKWARDS):
            return node
        arguments = [ast.Constant(kind), node.left, node.comparators[0]]
        return ast.copy_location(ast.Call(ast.Name(NAME, ast.Load()), arguments, []), node)


def rewritten(test: str) -> ast.Module:
    """Return the test with its comparisons made by `compared`, which must be there under `NAME`."""
    tree = ast.parse(test, "<test>")
    _Rewritten().visit(tree)
    return ast.fix_missing_locations(tree)
