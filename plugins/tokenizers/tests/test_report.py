import math

import pytest
import torch
from cmrgz_tokenizers.decoder import reconstruction_loss
from cmrgz_tokenizers.report import code_use, psnr


def image(value: float) -> torch.Tensor:
    return torch.full((1, 1, 8, 8), value)


@pytest.mark.parametrize(("off", "decibel"), [(0.2, 20.0), (0.02, 40.0), (0.002, 60.0), (0.0, 80.0)])
def test_psnr_of_a_constant_error(off: float, decibel: float) -> None:
    assert psnr(image(0.1 + off), image(0.1)) == pytest.approx(decibel, abs=2e-3)


def test_psnr_is_the_mean_over_images_not_of_the_errors() -> None:
    y, x = torch.cat([image(0.2), image(0.02)]), torch.cat([image(0.0), image(0.0)])
    assert psnr(y, x) == pytest.approx(30, abs=2e-3)


def test_psnr_takes_values_outside_the_range_as_the_end_of_it() -> None:
    assert psnr(image(7.0), image(1.0)) == pytest.approx(80)


@pytest.mark.parametrize("used", [1, 3, 16])
def test_even_use_of_k_codes_has_perplexity_k(used: int) -> None:
    share, perplexity = code_use(torch.arange(96).reshape(4, 24) % used, 16)
    assert share == pytest.approx(used / 16) and perplexity == pytest.approx(used, rel=1e-4)


def test_perplexity_of_uneven_use() -> None:
    share, perplexity = code_use(torch.tensor([0, 0, 0, 1]), 4)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert share == 0.5 and perplexity == pytest.approx(math.exp(entropy), rel=1e-5)


def test_loss_of_a_constant_error() -> None:
    assert float(reconstruction_loss(image(0.2), image(0.0))) == pytest.approx(0.1 + 10 * 0.01, rel=1e-5)


def test_loss_of_a_ramp() -> None:
    ramp = 0.02 * torch.arange(8.0).expand(1, 1, 8, 8)
    error = 0.01 * torch.arange(8.0)
    expected = error.mean() + 10 * error.square().mean() + 0.25 * 0.01
    torch.testing.assert_close(reconstruction_loss(ramp, torch.zeros(1, 1, 8, 8)), expected)
