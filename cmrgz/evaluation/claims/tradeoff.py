"""C5: whether what is nearer to the truth looks less real, over the families."""

from collections.abc import Iterator

import numpy as np

from cmrgz.evaluation.claims import rules
from cmrgz.evaluation.claims.evidence import Distances, Evidence, Missing, Verdict
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Floats, bootstrap
from cmrgz.evaluation.statistics.estimates import mean, rank_correlation
from cmrgz.evaluation.statistics.subjects import paired


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
    keys = [(method, ratio) for ratio in ratios for method in methods]
    every, errors = paired(*rules.at(keys, evidence.mse))
    found = rules.at(keys, distances)
    subjects = sorted(set(every).intersection(*(d.subjects for d in found)))
    rules.enough(subjects)
    errors = errors[[every.index(subject) for subject in subjects]]
    resampled = [d.among(subjects) for d in found]

    def both(weights: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Yield of each ratio the errors and the distances of the methods, (b, methods)."""
        # squared errors rank as their roots do
        error = np.stack([mean(column)(weights) for column in errors.T], axis=1)
        distance = np.stack([statistic(weights) for statistic in resampled], axis=1)
        yield from zip(*(np.split(of, len(ratios), axis=1) for of in (error, distance)), strict=True)

    def correlation(weights: Floats) -> Floats:
        # within each ratio, then averaged: over all at once, what is hidden more is worse in both
        return np.mean([rank_correlation(error, distance) for error, distance in both(weights)], axis=0)

    worse = [_dominated(error[0], distance[0]) for error, distance in both(np.ones((1, len(subjects))))]
    return bootstrap(correlation, len(subjects), corrected=False), f"{sum(worse)} of {len(ratios)}"


def _dominated(error: Floats, distance: Floats) -> bool:
    """Return whether a method is worse than another one in both."""
    return bool(((error[:, None] > error) & (distance[:, None] > distance)).any())
