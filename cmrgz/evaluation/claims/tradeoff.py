"""C5: whether what is nearer to the truth looks less real, over the families."""

from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.claims import rules
from cmrgz.evaluation.claims.evidence import Distances, Evidence, Key, Missing, Verdict
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Floats, Statistic, bootstrap
from cmrgz.evaluation.statistics.estimates import mean, rank_correlation


def trade_off(evidence: Evidence) -> Verdict:
    """Judge C5: Spearman's correlation across families of -RMSE in the hole and -KID, the mean over the ratios.

    Supported where its interval lies below 0 by two extractors, refuted where it lies above: who is nearer to the truth
    also looks more real. The interval is of percentiles, since ranks of a few families take few values. The effect is
    the correlation itself, below 0 in the direction of the claim.
    """
    if len(evidence.families) < 2:
        raise Missing(f"2 families are needed, and there are {len(evidence.families)}")
    found = rules.by_extractor(evidence, lambda distances: _correlation(evidence, distances))
    direction, p = rules.agreement([b for b, _ in found.values()], rules.EXTRACTORS, adjust=False)
    first, (shown, dominated) = next(iter(found.items()))
    why = f"by {first}, at {dominated} of the ratios a family is worse than another in both"
    if direction > 0:
        why = f"one family dominates: no trade-off here; {why}"
    return Verdict(rules.outcome(-direction), why, shown.interval(), p)


def _correlation(evidence: Evidence, distances: Distances) -> tuple[Bootstrap, str]:
    """Return the correlation by an extractor, and the count of ratios at which a family is dominated."""
    methods = evidence.families
    ratios = rules.between({key: None for key in distances if key in evidence.mse}, methods, 1)
    keys = [(m, r) for r in ratios for m in methods]
    subjects = _shared(evidence, distances, keys)
    # squared errors rank as their roots do
    error = [mean(np.array([evidence.mse[k][s] for s in subjects])) for k in keys]
    distance = [distances[k].among(subjects) for k in keys]
    shape = len(ratios), len(methods)

    def statistic(weights: Floats) -> Floats:
        x, y = (_table(of, weights, shape) for of in (error, distance))
        # within each ratio, then averaged: over all at once, what is hidden more is worse in both
        return np.mean([rank_correlation(a, b) for a, b in zip(x, y, strict=True)], axis=0)

    everybody = np.ones((1, len(subjects)))
    x, y = (_table(of, everybody, shape)[:, 0] for of in (error, distance))
    worse = [_dominated(a, b) for a, b in zip(x, y, strict=True)]
    return bootstrap(statistic, len(subjects), corrected=False), f"{sum(worse)} of {len(ratios)}"


def _table(each: Sequence[Statistic], weights: Floats, shape: tuple[int, int]) -> Floats:
    """Return numbers of methods at ratios: (ratios, b, methods)."""
    return np.stack([s(weights) for s in each]).reshape(*shape, -1).transpose(0, 2, 1)


def _dominated(error: Floats, distance: Floats) -> bool:
    """Return whether a method is worse than another one in both."""
    return bool(((error[:, None] > error) & (distance[:, None] > distance)).any())


def _shared(evidence: Evidence, distances: Distances, keys: Sequence[Key]) -> list[str]:
    finite = [{s for s, value in evidence.mse[k].items() if np.isfinite(value)} for k in keys]
    found = sorted(set.intersection(*finite, *(set(distances[k].subjects) for k in keys)))
    rules.enough(found)
    return found
