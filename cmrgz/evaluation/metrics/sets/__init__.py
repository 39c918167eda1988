"""Set metrics: numbers for many generated items beside many real ones, on features or on the images themselves.

Score one with `SET_METRICS[name].score(generated, real, space, subjects)`: it brings the features to z-scores of the
reference (or to its principal components), and answers NaN with a reason where a set is too small. `control` gives what
reals score against reals. No conclusion rests on one extractor.
"""

from cmrgz.evaluation.metrics.sets.base import COMPONENTS, Control, Score, SetMetric, Space, control
from cmrgz.evaluation.metrics.sets.diversity import ms_ssim_gap
from cmrgz.evaluation.metrics.sets.features import ks_mean
from cmrgz.evaluation.metrics.sets.frechet import fd, fd_infinity
from cmrgz.evaluation.metrics.sets.kernels import kid, rbf_mmd
from cmrgz.evaluation.metrics.sets.neighbours import K, coverage, density, precision, recall
from cmrgz.evaluation.metrics.sets.sliced import swd

__all__ = ["SET_METRICS", "Control", "Score", "SetMetric", "Space", "control"]

_FULL_RANK = COMPONENTS + 1
_NAEEM = "Naeem et al. 2020, arXiv:2002.09797"
_KYNKAANNIEMI = "Kynkaanniemi et al. 2019, arXiv:1904.06991"

_METRICS = (
    SetMetric("kid", kid, "lower", 6, unit="x1000", by_subject=True, cite="Binkowski et al. 2018, arXiv:1801.01401"),
    SetMetric("rbf-mmd", rbf_mmd, "lower", 6, unit="x1000", by_subject=True, cite="Gretton et al. 2012, JMLR 13"),
    SetMetric("fd", fd, "lower", _FULL_RANK, "principal", cite="Heusel et al. 2017, arXiv:1706.08500"),
    SetMetric(
        "fd-inf", fd_infinity, "lower", 5 * _FULL_RANK, "principal", cite="Chong and Forsyth 2020, arXiv:1911.07023"
    ),
    SetMetric("precision", precision, "higher", 2 * K, cite=_KYNKAANNIEMI),
    SetMetric("recall", recall, "higher", 2 * K, cite=_KYNKAANNIEMI),
    SetMetric("density", density, "one", 2 * K, cite=_NAEEM),
    SetMetric("coverage", coverage, "higher", 2 * K, cite=_NAEEM),
    SetMetric("ks", ks_mean, "lower", 10, cite="Massey 1951, doi:10.1080/01621459.1951.10500769"),
    SetMetric("swd", swd, "lower", 10, "images", unit="x1000", cite="Karras et al. 2018, arXiv:1710.10196"),
    SetMetric(
        "ms-ssim-gap", ms_ssim_gap, "zero", 10, "images", by_subject=True, cite="Odena et al. 2017, arXiv:1610.09585"
    ),
)

SET_METRICS: dict[str, SetMetric] = {metric.name: metric for metric in _METRICS}
"""By name. On images: `swd` and `ms-ssim-gap`; the others on the features of each extractor."""
