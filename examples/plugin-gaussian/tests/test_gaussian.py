"""The conformance suite, and the posterior against that of the same Gaussian written out in full."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_gaussian.model import build

from cmrgz.rng import Streams
from cmrgz.testing.conformance import parametrize_with_checks


@parametrize_with_checks("gaussian")
def test_it_conforms(check: Callable[[], None]) -> None:
    check()


@torch.no_grad()
def test_draws_are_those_of_the_posterior() -> None:
    torch.manual_seed(0)
    model, n, item = build((4, 5), 3), 20_000, torch.randn(1, 1, 4, 5)
    model.factors.data = torch.randn(20, 3)
    known = torch.rand(1, 1, 4, 5) < 0.4
    seen = known.flatten()
    covariance = model.factors @ model.factors.T + model.variance * torch.eye(20)
    gain = covariance[~seen][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = model.mean[~seen] + gain @ (item.flatten() - model.mean)[seen]
    rest = covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]
    rng = Streams(0, [(i,) for i in range(n)])
    drawn = model.sample(item.where(known, 0.0).expand(n, -1, -1, -1), known.expand(n, -1, -1, -1), rng=rng)
    hidden = drawn.flatten(1)[:, ~seen]
    torch.testing.assert_close(hidden.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(hidden.T), rest, atol=0.1, rtol=0.05)


@torch.no_grad()
def test_the_loss_is_the_likelihood() -> None:
    torch.manual_seed(0)
    model, x = build((4, 5), 3), torch.randn(6, 1, 4, 5)
    covariance = model.factors @ model.factors.T + model.variance * torch.eye(20)
    rng = Streams(0, [(i,) for i in range(6)])
    seen = Streams(0, [(i,) for i in range(6)]).uniform(20) < 0.9
    total = 0.0
    for row, mask in zip(x.flatten(1), seen, strict=True):
        part = torch.distributions.MultivariateNormal(model.mean[mask], covariance[mask][:, mask])
        total -= float(part.log_prob(row[mask])) / int(mask.sum())
    assert float(model.loss(x, rng=rng).detach()) == pytest.approx(total / 6, rel=1e-4)
