"""One row at a time is the network itself: with and without biases, tied or not, past the end of the window."""

from dataclasses import replace

import pytest
import torch

from starsmith.model.cache import RingCache
from starsmith.model.generate import Generation, Generator
from starsmith.model.single_row import SingleRow


@pytest.mark.parametrize("changes", [{}, {"use_bias": False}, {"tie_word_embeddings": False}, {"sliding_window": None}])
def test_logits_are_the_networks(config, make_model, changes):
    model = make_model(replace(config, **changes))
    ids = torch.randint(0, config.vocab_size, (1, 45), generator=torch.Generator().manual_seed(2))
    row = SingleRow(model)
    with torch.inference_mode():
        cache = RingCache(model.config, rows=1, columns=45)
        expected_lv = model(ids)[0]
        found_lv = torch.cat([row.step(each[None], cache) for each in ids[0]])
    torch.testing.assert_close(found_lv, expected_lv, atol=1e-4, rtol=1e-4)


def test_what_follows_a_prompt_is_what_a_batch_says(trained, bpe):
    prompt = ["def layer(model):\n    return "]
    how = Generation(max_tokens=40, top_logprobs=0)
    (alone,) = Generator(trained, bpe).generate([prompt], how)
    beside = Generator(trained, bpe).generate([prompt] * 5, how)[0]
    assert alone.ids == beside.ids
    assert [each.logprob for each in alone.scores] == pytest.approx([each.logprob for each in beside.scores], abs=1e-4)


def test_other_types_go_the_other_way(config, make_model):
    assert SingleRow.can_run(make_model(config))
    assert not SingleRow.can_run(make_model(config).bfloat16())


def test_weights_are_shared_and_not_copied(config, make_model):
    model = make_model(config)
    row = SingleRow(model)
    cache = RingCache(config, rows=1, columns=2)
    with torch.no_grad():
        before = row.step(torch.tensor([5]), cache)
        model.embedding.weight.zero_()
        after = row.step(torch.tensor([5]), cache)
    assert before.abs().max() > 0
    assert after.abs().max() == 0
