"""Intermediate representations against the template of section 8.2."""

from starsmith.format.choice import Draw
from starsmith.format.intermediate import Compiled, segments
from starsmith.format.sentinels import shown

COMPILED = Compiled(code="code", intermediate="ir", document_id=b"c")


def test_both_ways_occur_half_of_the_time():
    found = [shown(segments(COMPILED, Draw(seed=seed, epoch=0, document_id=b"c"))) for seed in range(1000)]
    forwards = found.count("code<code_to_intermediate>ir<|endoftext|>")
    backwards = found.count("ir<intermediate_to_code>code<|endoftext|>")
    assert forwards + backwards == 1000
    assert 450 <= forwards <= 550
