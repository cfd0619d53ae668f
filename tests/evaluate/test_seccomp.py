"""The filter is what its tables say. What it stops is shown by the attacks."""

import struct

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate import seccomp

KILL, ALLOW, ERROR = 0x80000000, 0x7FFF0000, 0x00050000


def answer(program, number, *, architecture=0xC000003E, argument=0):
    """Run the filter as the kernel would."""
    steps, at, loaded = list(struct.iter_unpack("=HBBI", program)), 0, 0
    data = {0: number, 4: architecture, 16: argument}
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            loaded = data[operand]
        else:
            holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
            at += yes if holds else no


@pytest.mark.parametrize(("machine", "column", "audit"), [("x86_64", 0, 0xC000003E), ("aarch64", 1, 0xC00000B7)])
def test_each_call_gets_the_answer_of_its_table(machine, column, audit):
    program = seccomp.compiled(machine)
    tables = {KILL: seccomp.FATAL, ERROR | 1: seccomp.REFUSED, ERROR | 38: seccomp.ABSENT}
    listed = {numbers[column]: expected for expected, table in tables.items() for numbers in table.values()}
    special = {seccomp._CLONE[column], seccomp._SOCKET[column]}
    for number in set(range(500)) - special:
        assert answer(program, number, architecture=audit) == listed.get(number, ALLOW), number


def test_arguments_that_matter():
    program = seccomp.compiled("x86_64")
    assert answer(program, 56, argument=17) == ALLOW
    assert answer(program, 56, argument=0x003D0F00) == ALLOW  # what a thread is made with
    for namespace in (0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x00020000):
        assert answer(program, 56, argument=namespace | 17) == KILL
    assert [answer(program, 41, argument=family) for family in (1, 2, 10)] == [ALLOW] * 3
    assert [answer(program, 41, argument=family) for family in (16, 17, 38, 40)] == [ERROR | 97] * 4


def test_another_architecture_ends_the_program():
    assert answer(seccomp.compiled("x86_64"), 39, architecture=0x40000003) == KILL
    assert answer(seccomp.compiled("x86_64"), 0x40000000 + 39) == KILL


def test_an_unknown_machine():
    with pytest.raises(StarsmithError, match="riscv64"):
        seccomp.compiled("riscv64")
