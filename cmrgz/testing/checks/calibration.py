"""The rank test as a check: shown, neither passed nor failed."""

import torch

from cmrgz.rng import Streams
from cmrgz.testing.checks.outcomes import Shown
from cmrgz.testing.ranks import ONE_ANSWER, rank
from cmrgz.testing.subject import Subject

TRUTHS, TRUE_BLOCKS, DRAWS = 64, 32, 7
STEPS = 100
"""Of training: in a new model nothing depends on what is known, and no test can tell."""


def draws_are_its_posterior(subject: Subject) -> None:
    """Whether a draw given a part is the conditional of a draw given nothing: shown, neither good nor bad."""
    x, known = subject.items(2), subject.known_part(2)
    if torch.equal(subject.draw(x, known, seed=0), subject.draw(x, known, seed=1)):
        raise Shown(ONE_ANSWER)
    model, n = subject.trained(STEPS), TRUE_BLOCKS if subject.on_blocks else TRUTHS
    size = (*(2, 1, 1)[: len(subject.extent.axes) - 2], 64, 64)
    x = torch.zeros(n, 1, *size)
    nothing = torch.zeros_like(x, dtype=torch.bool)
    truth = subject.draw(x, nothing, model=model, rng=Streams(0, [("truth", i) for i in range(n)]))
    known = subject.known_part(n, size)
    found = rank(lambda x, known, rng: subject.draw(x, known, model=model, rng=rng), truth.clone(), known, DRAWS)
    raise Shown(found.line)
