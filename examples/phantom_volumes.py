"""Volumes of one virtual subject: what was drawn, what the continuum model has, what a stack of slices shows of it.

The last two differ because ten-millimetre slices and a few phases sample the heart coarsely. Compare a model with the
label stack (a perfect output has no error there); the difference to the continuum is what no model can do about.
"""

import numpy as np

from cmrgz.data.phantom import Phantom, contraction, label_truth

SEED, PHASES = 7, 8


def main() -> None:
    phantom = Phantom(SEED, group="DCM", size=96)
    _, labels = phantom.cine(PHASES)
    es = int(np.argmax(contraction(np.arange(PHASES) / PHASES, phantom.subject.hr)))
    subject, truth = phantom.subject, phantom.truth()
    stack = label_truth(labels, phantom.spacing, phantom.dz, es)
    requested = {"LVEDV": subject.edv, "LVEF": subject.ef, "LVM_ED": subject.mass, "RVEDV": subject.rv_edv}
    print(f"{'':8}{'requested':>12}{'continuum':>12}{'labels':>12}")
    for name, value in requested.items():
        print(f"{name:8}{value:12.2f}{truth[name]:12.2f}{stack[name]:12.2f}")


if __name__ == "__main__":
    main()
