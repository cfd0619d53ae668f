"""MBPP+ inputs as they were before JSON took tuples, sets and complex numbers out of them.

Which task needs what is EvalPlus's own list (evalplus 26d6d00b, `data/mbpp.py`); tasks that are not here take their
inputs as JSON has them.
"""

from collections.abc import Callable
from typing import Any, Final

Arguments = list[Any]

_LISTS_TO_TUPLES: Final = {
    *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809)
}
_ITEMS_TO_TUPLES: Final = {63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780}
_ITEMS_OF_FIRST_TO_TUPLES: Final = {75, 413, 444, 753}
_SECOND_TO_TUPLE: Final = {106, 750}
_FIRST_TO_TUPLE: Final = {250, 405, 446, 617, 720, 763, 808, 307}
_TUPLES_OF_TUPLES: Final = {259, 401, 445}
_ALL_TO_TUPLES: Final = {580, 615, 791}


def mbpp_arguments(task: int, given: Arguments) -> tuple[Any, ...]:
    """Return the arguments of one call of an MBPP+ task, from what its file has."""
    return tuple(_rule(task)(given))


def _rule(task: int) -> Callable[[Arguments], Any]:
    for tasks, rule in _RULES:
        if task in tasks:
            return rule
    return lambda given: given


def _deep(value: Any) -> Any:
    return tuple(_deep(item) for item in value) if isinstance(value, list) else value


def _if_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _set(value: Any) -> Any:
    # An empty one stands for an empty dict there, and so it does here.
    return set(value) if isinstance(value, list) and value else {}


_RULES: Final[tuple[tuple[set[int], Callable[[Arguments], Any]], ...]] = (
    (_LISTS_TO_TUPLES, lambda given: [tuple(each) for each in given]),
    (_ITEMS_TO_TUPLES, lambda given: [[tuple(item) for item in each] for each in given]),
    (_ITEMS_OF_FIRST_TO_TUPLES, lambda given: [[tuple(item) for item in given[0]], given[1]]),
    (_SECOND_TO_TUPLE, lambda given: [given[0], tuple(given[1])]),
    (_FIRST_TO_TUPLE, lambda given: [tuple(given[0]), *given[1:]]),
    (_TUPLES_OF_TUPLES, lambda given: [tuple(tuple(item) for item in each) for each in given]),
    (_ALL_TO_TUPLES, _deep),
    ({115}, lambda given: [[_set(item) for item in given[0]]]),
    ({124}, lambda given: [float(given[0]), complex(given[1])]),
    ({252}, lambda given: [complex(given[0])]),
    ({278}, lambda given: [tuple(_if_list(item) for item in given[0])]),
    ({722}, lambda given: [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]),
)
