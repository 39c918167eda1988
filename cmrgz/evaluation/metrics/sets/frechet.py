"""The Frechet distance between Gaussians fitted to two sets, and its extrapolation to sets without end.

The distance is biased upwards by about c / n, with a c that depends on the model: two equal Gaussians of 64 dimensions
and trace 19 are 0.52 apart at 1,000 samples each. So it is of at most 64 principal components, and is read only beside
what reals give against reals at the same n; `fd_infinity` takes the bias out.
"""

import math

import numpy as np

from cmrgz.evaluation.metrics.base import Floats

SIZES, DRAWS = 10, 4  # sample sizes in the extrapolation, and subsets of each, averaged


def gaussian_frechet(mean_x: Floats, covariance_x: Floats, mean_y: Floats, covariance_y: Floats) -> float:
    """Return `|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1^.5 S2 S1^.5)^.5)` of means (d,) and covariances (d, d).

    Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017, arXiv:1706.08500.
    """
    # S1 S2 has the same eigenvalues but is not symmetric: its root (scipy's sqrtm) turns complex for singular
    # covariances, which small sets have; eigenvalues a rounding below 0 are 0
    values, vectors = np.linalg.eigh(covariance_x)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_y @ root), 0)).sum()
    return float(((mean_x - mean_y) ** 2).sum() + np.trace(covariance_x) + np.trace(covariance_y) - 2 * cross)


def fd(generated: Floats, real: Floats) -> float:
    """Return the Frechet distance of two feature sets (n, d) and (m, d); NaN for d or fewer items in a set."""
    if min(len(generated), len(real)) <= generated.shape[1]:
        return math.nan
    sets = [np.asarray(items, np.float64) for items in (generated, real)]
    (a, b), (c, d) = ((x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))) for x in sets)
    return gaussian_frechet(a, b, c, d)


def fd_infinity(generated: Floats, real: Floats, seed: int = 0) -> float:
    """Return the Frechet distance extrapolated to sets without end; under the null it is about 0, of either sign.

    The intercept of a regression on 1/n at 10 sizes, equally spaced in 1/n, from a fifth of the set to all of it. Chong
    and Forsyth 2020, arXiv:1911.07023. They shrink the generated set alone against 50,000 reals; here reals are few, so
    both sets, (n, d) and (m, d), shrink together, in random subsets, and the bias from the reals goes too. NaN where a
    fifth of the smaller set is not more than d.
    """
    n, rng = min(len(generated), len(real)), np.random.default_rng(seed)
    if n // 5 <= generated.shape[1]:
        return math.nan
    sizes = np.round(1 / np.linspace(5 / n, 1 / n, SIZES)).astype(int)

    def of_subsets(size: int) -> float:
        return fd(*(items[rng.choice(len(items), size, replace=False)] for items in (generated, real)))

    values = [np.mean([of_subsets(size) for _ in range(DRAWS)]) for size in sizes]
    return float(np.polynomial.Polynomial.fit(1 / sizes, values, 1)(0.0))
