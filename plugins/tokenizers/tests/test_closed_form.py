import torch
from cmrgz_tokenizers import closed_form
from cmrgz_tokenizers.closed_form import least_squares, principal_axes, sample_patches
from torch import Tensor

from cmrgz.latents import patches


def sample(n: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    return torch.randn(n, 6, generator=generator) @ mixing + 3


def test_sampled_patches_are_patches_each_once(items: Tensor) -> None:
    found = sample_patches(items[:2], 8, torch.Generator().manual_seed(0))
    every = patches(items[:2], 8).movedim(1, -1).reshape(-1, 64)
    assert found.shape == every.shape and not torch.equal(found, every)
    assert torch.equal(found[found[:, 0].argsort()], every[every[:, 0].argsort()])


def test_no_more_patches_than_the_limit(items: Tensor) -> None:
    assert (
        len(sample_patches(items.repeat(61, 1, 1, 1), 8, torch.Generator().manual_seed(0))) == closed_form.FIT_PATCHES
    )


def test_axes_are_orthonormal_and_sorted_by_variance() -> None:
    x = sample()
    axes = principal_axes(x, 6)
    torch.testing.assert_close(axes @ axes.T, torch.eye(6), atol=1e-5, rtol=0)
    scores = (x - x.mean(0)) @ axes.T
    covariance = scores.T @ scores / len(x)
    torch.testing.assert_close(covariance, covariance.diag().diag(), atol=1e-3, rtol=0)
    assert (covariance.diag().diff() <= 0).all()


def test_the_first_axes_reconstruct_best() -> None:
    x = sample() - sample().mean(0)
    axes = principal_axes(x, 3)
    rest = (x - x @ axes.T @ axes).square().sum()
    assert torch.isclose(rest, torch.linalg.svdvals(x)[3:].square().sum(), rtol=1e-4)


def test_the_sign_of_an_axis_is_settled() -> None:
    for axes in (principal_axes(sample(), 6), principal_axes(-sample(), 6)):
        assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_least_squares_finds_a_linear_map() -> None:
    x = sample()
    weight, bias = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), torch.arange(4.0)
    found = least_squares(x, x @ weight.T + bias)
    torch.testing.assert_close(found, (weight, bias), atol=1e-3, rtol=1e-3)


def test_an_input_that_never_varies_gets_no_weight() -> None:
    x = torch.cat([sample(), torch.ones(500, 1)], 1)
    weight, bias = least_squares(x, sample())
    assert weight[:, 6].abs().max() < 1e-6
    torch.testing.assert_close(x @ weight.T + bias, sample(), atol=1e-3, rtol=1e-3)
