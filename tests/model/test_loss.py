"""The loss in parts against the plain one."""

import pytest
import torch
import torch.nn.functional as F

from starsmith.model.loss import IGNORED, cross_entropy


def new_case(rows: int = 70, *, scale: float = 1.0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(5)
    x_nd = (scale * torch.randn(rows, 24, generator=generator)).to(dtype).requires_grad_()
    weight_vd = torch.randn(130, 24, generator=generator).to(dtype).requires_grad_()
    target_n = torch.randint(0, 130, (rows,), generator=generator)
    target_n[::7] = IGNORED
    return x_nd, weight_vd, target_n


@pytest.mark.parametrize("chunk", [1, 16, 70, 1000, None])
@pytest.mark.parametrize("rows", [70, 600])
def test_it_is_the_plain_loss(chunk, rows):
    x_nd, weight_vd, target_n = new_case(rows)
    total = cross_entropy(x_nd, weight_vd, target_n, chunk_rows=chunk)
    (total * 0.25).backward()
    found = x_nd.grad.clone(), weight_vd.grad.clone()
    x_nd.grad = weight_vd.grad = None
    plain = F.cross_entropy(x_nd @ weight_vd.T, target_n, ignore_index=IGNORED, reduction="sum")
    (plain * 0.25).backward()
    assert total.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(found, (x_nd.grad, weight_vd.grad), rtol=1e-4, atol=1e-5)


def test_large_logits_neither_overflow_nor_vanish():
    x_nd, weight_vd, target_n = new_case(scale=1000.0)
    total = cross_entropy(x_nd, weight_vd, target_n)
    plain = F.cross_entropy(x_nd.double() @ weight_vd.double().T, target_n, ignore_index=IGNORED, reduction="sum")
    assert total.item() == pytest.approx(plain.item(), rel=1e-5)
    total.backward()
    assert torch.isfinite(x_nd.grad).all()


def test_without_gradients_it_is_the_same_number():
    x_nd, weight_vd, target_n = new_case()
    with torch.no_grad():
        quiet = cross_entropy(x_nd, weight_vd, target_n)
    assert quiet.item() == pytest.approx(cross_entropy(x_nd, weight_vd, target_n).item(), rel=1e-6)
    assert not quiet.requires_grad


def test_ignored_tokens_alone_give_nothing():
    x_nd, weight_vd, target_n = new_case()
    total = cross_entropy(x_nd, weight_vd, torch.full_like(target_n, IGNORED))
    total.backward()
    assert total.item() == 0
    assert not x_nd.grad.any()
    assert not weight_vd.grad.any()


def test_ignored_rows_may_hold_anything():
    x_nd, weight_vd, target_n = new_case()
    with torch.no_grad():
        x_nd[target_n == IGNORED] = float("nan")
    assert torch.isfinite(cross_entropy(x_nd, weight_vd, target_n))


def test_sixteen_bits_are_summed_in_thirty_two():
    x_nd, weight_vd, target_n = new_case(600, dtype=torch.bfloat16)
    cross_entropy(x_nd, weight_vd, target_n, chunk_rows=8).backward()
    exact_x, exact_weight = (item.detach().float().requires_grad_() for item in (x_nd, weight_vd))
    F.cross_entropy(exact_x @ exact_weight.T, target_n, ignore_index=IGNORED, reduction="sum").backward()
    assert weight_vd.grad.dtype == torch.bfloat16
    error = (weight_vd.grad.float() - exact_weight.grad).norm() / exact_weight.grad.norm()
    assert error < 0.02


def test_mixed_precision_multiplies_in_sixteen_bits():
    x_nd, weight_vd, target_n = new_case()
    with torch.autocast("cpu", torch.bfloat16):
        total = cross_entropy(x_nd, weight_vd, target_n)
    total.backward()
    assert total.dtype == x_nd.grad.dtype == weight_vd.grad.dtype == torch.float32
    assert total.item() == pytest.approx(cross_entropy(x_nd, weight_vd, target_n).item(), rel=0.01)


def test_gradients_are_used_once():
    total = cross_entropy(*new_case())
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        total.backward()
