"""Generation against transformers', and its own laws."""

from dataclasses import replace

import pytest
import torch

from starsmith.errors import StarsmithError
from starsmith.format import fill_in_middle
from starsmith.format.repository import completion_prompt
from starsmith.format.sentinels import END_OF_TEXT, FILE_SEP
from starsmith.model import generate
from starsmith.model.cache import RingCache
from starsmith.model.checkpoint import public_tensors
from starsmith.model.decoder import Decoder
from starsmith.model.generate import Generation, Generator
from starsmith.model.sampling import Sampling

PROMPTS = [[50, 51, 52], list(range(60, 110)), [70], list(range(90, 107)), [99, 98]]
GREEDY = Generation(max_tokens=30, stop_ids=())


@pytest.fixture(scope="module")
def generator(config, make_model):
    return Generator(make_model(config))


@torch.no_grad()
def one_by_one(model, ids, count):
    """The plain way: the whole text through the network for each token."""
    ids = list(ids)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return tuple(ids[-count:])


def test_a_cache_changes_nothing(generator):
    found = generator.generate(PROMPTS, GREEDY)
    assert [each.ids for each in found] == [one_by_one(generator.model, prompt, 30) for prompt in PROMPTS]
    assert {each.finish for each in found} == {"length"}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_batch_changes_nothing(generator, batch):
    found = generator.generate(PROMPTS, replace(GREEDY, batch=batch))
    assert found == generator.generate(PROMPTS, GREEDY)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("window", [16, None])
def test_greedy_tokens_are_those_of_transformers(config, make_model, make_public, window):
    ours = make_model(replace(config, sliding_window=window))
    public = make_public(ours.config)
    public.load_state_dict(public_tensors(ours), strict=False)
    longest = max(map(len, PROMPTS))
    ids_bl = torch.tensor([[0] * (longest - len(row)) + row for row in PROMPTS])
    mask_bl = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in PROMPTS])
    theirs = public.generate(
        ids_bl, attention_mask=mask_bl, max_new_tokens=30, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    found = Generator(ours).generate(PROMPTS, GREEDY)
    assert [list(each.ids) for each in found] == theirs[:, longest:].tolist()


@torch.no_grad()
@pytest.mark.parametrize("parts", [(40,), (1,) * 40, (7, 20, 13), (16, 16, 8), (33, 7)])
def test_logits_are_the_same_in_any_parts(generator, parts):
    model = generator.model
    ids_bl = torch.randint(40, 300, (2, 40), generator=torch.Generator().manual_seed(3))
    cache = RingCache(model.config, rows=2, columns=40)
    found = [model(part_bl, cache=cache) for part_bl in ids_bl.split(parts, dim=1)]
    torch.testing.assert_close(torch.cat(found, 1), model(ids_bl), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 4, 16])
def test_the_short_way_is_the_networks(generator, rows):
    """Plain and packed matrices, before and after the ring is full."""
    model = generator.model
    ids_bl = torch.randint(40, 300, (rows, 36), generator=torch.Generator().manual_seed(4))
    cache, decoder = RingCache(model.config, rows=rows, columns=36), Decoder(model, rows=rows)
    expected = model(ids_bl)
    for column in range(36):
        logits_bv = decoder.step(ids_bl[:, column], cache)
        torch.testing.assert_close(logits_bv, expected[:, column], rtol=1e-4, atol=1e-4)


def test_a_long_prompt_takes_no_more_memory_than_its_window(config, make_model):
    """10^6 tokens are refused by what the model was made for, and read in parts where that is allowed."""
    generator = Generator(make_model(config))
    with pytest.raises(StarsmithError, match=r"1,000,000 tokens.*128 positions"):
        generator.generate([[50] * 1_000_000])
    generator = Generator(make_model(replace(config, num_hidden_layers=1)))
    found = generator.generate([[50, 60] * 4_000], Generation(max_tokens=2, longer=True))
    assert len(found[0].ids) == 2
    assert RingCache(config, rows=1, columns=10**9).store.numel() == 2 * 2 * 2 * 16 * 8


def test_what_the_model_lacks_is_refused(generator, tokens):
    with pytest.raises(StarsmithError, match="id 320"):
        generator.generate([[320]])
    with pytest.raises(StarsmithError, match="id -1"):
        generator.generate([[-1]])
    with pytest.raises(StarsmithError, match="needs a tokenizer"):
        generator.generate([["text"]])
    with pytest.raises(StarsmithError, match="need a tokenizer"):
        generator.generate([[50]], Generation(stop=("x",)))
    tokens.vocabulary = 400
    with pytest.raises(StarsmithError, match="do not belong together"):
        Generator(generator.model, tokens)


@pytest.mark.parametrize(
    "how", [{"max_tokens": 0}, {"batch": 0}, {"stop": ("a", "")}, {"top_logprobs": -1}], ids=lambda how: next(iter(how))
)
def test_impossible_wishes_are_refused(how):
    with pytest.raises(StarsmithError, match=next(iter(how))):
        Generation(**how)


def test_nothing_is_a_prompt_too(generator):
    assert generator.generate([[]], GREEDY) == generator.generate([[END_OF_TEXT]], GREEDY)
    assert generator.generate([], GREEDY) == []


def test_ids_without_text_are_never_chosen(generator, tokens):
    found = Generator(generator.model, tokens).generate(PROMPTS, GREEDY)
    assert all(number < tokens.vocabulary for each in found for number in each.ids)
    assert any(number >= tokens.vocabulary for each in generator.generate(PROMPTS, GREEDY) for number in each.ids)


def test_a_trained_model_writes_and_ends(trained, bpe):
    generator = Generator(trained, bpe)
    (told,) = generator.generate([['"""Tiny models, ours and']], Generation(max_tokens=12, stop_ids=()))
    assert told.text.startswith(" those of transformer")
    how = Generation(max_tokens=40, stop=("transf", "never"), stop_ids=())
    (cut,) = generator.generate([['"""Tiny models, ours and']], how)
    assert (cut.text, cut.finish) == (" those of ", "stop")


def test_a_stop_token_ends_a_text_without_its_text(trained, bpe):
    generator = Generator(trained, bpe)
    plain = generator.generate([["from"]], Generation(max_tokens=12, stop_ids=()))[0]
    found = generator.generate([["from"]], Generation(max_tokens=12, stop_ids=(plain.ids[3],)))[0]
    stop = plain.ids.index(plain.ids[3])
    assert found.ids == plain.ids[: stop + 1]
    assert found.text == bpe.decode(plain.ids[:stop])
    assert found.finish == "stop"


def test_pieces_add_up_to_completions(trained, bpe):
    generator = Generator(trained, bpe)
    how = Generation(max_tokens=20, stop=("\n",), top_logprobs=2, sampling=Sampling(temperature=0.7, seed=3), batch=2)
    prompts = [["import "], ["def "], ["class ByteTokens"]]
    texts = dict.fromkeys(range(3), "")
    for piece in generator.stream(prompts, how):
        texts[piece.row] += piece.text
    assert [texts[row] for row in range(3)] == [each.text for each in generator.generate(prompts, how)]


def test_a_stream_may_be_left(generator):
    stream = generator.stream(PROMPTS, GREEDY)
    next(stream)
    assert not torch.is_inference_mode_enabled()
    stream.close()


def test_what_is_drawn_depends_on_seed_and_row_alone(generator):
    how = replace(GREEDY, sampling=Sampling(temperature=1.0, top_p=0.9, seed=1))
    together = generator.generate([PROMPTS[0]] * 3, how)
    assert together == generator.generate([PROMPTS[0]] * 3, replace(how, batch=1))
    assert len({each.ids for each in together}) == 3
    other = replace(how, sampling=Sampling(temperature=1.0, top_p=0.9, seed=2))
    assert generator.generate([PROMPTS[0]], other)[0].ids != together[0].ids


def test_logprobs_are_the_networks(generator):
    prompt = PROMPTS[1]
    (found,) = generator.generate([prompt], replace(GREEDY, top_logprobs=3))
    ids = [*prompt, *found.ids]
    with torch.no_grad():
        expected = torch.log_softmax(generator.model(torch.tensor([ids]))[0], -1)
    for place, score in enumerate(found.scores):
        assert score.logprob == pytest.approx(expected[len(prompt) + place - 1, score.id].item(), abs=1e-4)
        assert score.top[0] == (score.id, score.logprob)
        assert len(score.top) == 3


def test_a_text_is_scored(generator, monkeypatch):
    ids = list(range(50, 110))
    with torch.no_grad():
        expected = torch.log_softmax(generator.model(torch.tensor([ids]))[0], -1)
    monkeypatch.setattr(generate, "_SCORED", 13)
    first, *found = generator.score(ids, top=1)
    assert first is None
    assert [score.id for score in found] == ids[1:]
    for place, score in enumerate(found):
        assert score.logprob == pytest.approx(expected[place, ids[place + 1]].item(), abs=1e-4)
        assert score.top[0][0] == expected[place].argmax()


def test_prompts_that_fill_gaps_and_know_repositories(generator, tokens):
    """Sentinels come from the templates alone: their names in a text are text."""
    writer = Generator(generator.model, tokens)
    gap = fill_in_middle.prompt(prefix="a = <fim_suffix>", suffix="\n")
    assert sum(number < 38 for number in writer._ids(gap, 0, GREEDY)) == 3
    known = completion_prompt("acme/alpha", [("b.py", "x<|endoftext|>")], path="a.py", prefix="def ")
    ids = writer._ids(known, 0, GREEDY)
    assert ids.count(FILE_SEP) == 2
    assert END_OF_TEXT not in ids
    assert len(writer.generate([gap, known], replace(GREEDY, max_tokens=3))) == 2
