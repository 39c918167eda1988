"""Make all reference weights from nothing: phantoms, tokenizers, models. The same on a CPU and on a GPU.

    python examples/benchmarks/reference.py OUT CINE... --validation CINE... [--device cuda] [--only ar-vq] [--list]

Runs `cmrgz data phantom` and `cmrgz train`, step after step; the weights, in half precision, are OUT/NAME/checkpoint.
The same command goes on after a stop: finished steps are skipped, and a training continues where it was. A CINE is a
real scan, or a data set of them, to train on beside the phantoms; the phantoms count twice as much as each of them.
`--tiny` makes weights of no use in seconds, to see that everything runs.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cmrgz import registry

TOKENIZERS = ("vq", "kl", "vq-ms")
FAMILIES = ("ar-vq", "ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit", "ar-maskgit", "ar-mar", "ar-var")
"""The best first: what there is when time is up should be of use."""
TRAINING, TEST = range(1000, 1160), range(5000, 5008)
"""Seeds of the phantoms."""
PART = 10
"""Phantoms rendered by one step."""

Options = Mapping[str, Any]
TOKENIZER: Options = {
    "steps": 1200, "batch_size": 8, "warmup": 50, "ema": 0.998, "validate_every": 400, "validation_items": 12,
}  # fmt: skip
FAMILY: Options = {
    "item": (5, 3, 128, 128), "steps": 3000, "batch_size": 8, "lr": 1e-3, "warmup": 100, "ema": 0.998,
    "precision": "bf16", "augment": 1.5, "fit_items": 1024, "validate_every": 500, "save_every": 100, "workers": 2,
}  # fmt: skip
OWN: Mapping[str, Options] = {
    "vq-ms": {"fit_items": 2048},
    "ldm-unet": {"early": 500},
    "ldm-dit": {"early": 500},
    "flow-dit": {"early": 500},
    "ldm-uvit": {"early": 500},
}
"""What differs from the others of a kind."""
TINY: Options = {
    "steps": 2, "batch_size": 2, "warmup": 1, "fit_items": 16, "validation_items": 2, "early": 0, "workers": 0,
    "precision": "fp32",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A command and what it makes.

    Attributes:
        name: What `--only` names it by; several steps may be parts of one.
        command: Arguments of cmrgz.
        output: The file that is there when it is done.
        needs: Names of the steps that come before it.
    """

    name: str
    command: tuple[str, ...]
    output: Path
    needs: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether it need not be run."""
        return self.output.is_file()

    @property
    def line(self) -> str:
        """The command, as it is typed."""
        return shlex.join(["cmrgz", *self.command])


@dataclass(frozen=True)
class Recipe:
    """What the steps are made of; see `arguments`."""

    out: Path
    cines: Sequence[str]
    validation: Sequence[str]
    device: str
    tiny: bool
    installed: bool
    given: Sequence[str]

    def steps(self) -> Iterator[Step]:
        """Yield all steps in order."""
        seeds = [
            ("phantoms", TRAINING[:2] if self.tiny else TRAINING),
            ("phantoms-test", TEST[: 1 if self.tiny else 8]),
        ]
        for name, numbers in seeds:
            for start in range(0, len(numbers), PART):
                yield self._phantoms(name, numbers[start : start + PART])
        for name in TOKENIZERS:
            yield self._training(name, registry.get_tokenizer(name).tiny, TOKENIZER, "64,64")
        for name in FAMILIES:
            spec = registry.get_model(name)
            inner = None if self.installed else spec.tokenizer
            yield self._training(name, spec.tiny, FAMILY, "4,2,64,64", inner)

    def _phantoms(self, name: str, seeds: range) -> Step:
        folder = self.out / name / str(seeds[0])
        size = ["--size", "64", "--spacing", "3.6", "--phases", "12", "--slices", "2"] if self.tiny else []
        size = size or ["--size", "176", "--spacing", "1.4", "--phases", "20"]
        many = ["--subjects", str(len(seeds)), "--seed", str(seeds[0])]
        # A part that was broken off is rendered again.
        command = ("data", "phantom", str(folder), *many, *size, "--lite", "--overwrite")
        return Step(name, command, folder / "manifest.csv")

    def _training(self, name: str, small: Options, usual: Options, item: str, tokenizer: str | None = None) -> Step:
        folder, data = self.out / name, str(self.out / "phantoms")
        options = {**usual, **OWN.get(name, {})}
        if self.tiny:
            options |= {**TINY, "item": item, **small}
        sets = [f"--set={key}={_text(value)}" for key, value in options.items() if key not in self._names]
        command = ["train", name, data, *self.cines, "--share=2", *(["--share=1"] * len(self.cines))]
        command += [f"--validation={path}" for path in [*self.validation, str(self.out / "phantoms-test")]]
        command += [f"--output={folder}", f"--device={self.device}", "--half", *sets]
        command += [f"--set={text}" for text in self.given]
        needs = ["phantoms", "phantoms-test"]
        if tokenizer is not None:
            needs.append(tokenizer)
            command.append(f"--tokenizer={self.out / tokenizer / 'checkpoint'}")
        return Step(name, tuple(command), folder / "checkpoint" / "meta.json", tuple(needs))

    @property
    def _names(self) -> set[str]:
        return {text.partition("=")[0] for text in self.given}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def chosen(steps: Sequence[Step], only: Sequence[str]) -> list[Step]:
    """Return the steps of these names and all that they need, in order; all steps where no name is given."""
    wanted = set(only) or {step.name for step in steps}
    unknown = wanted - {step.name for step in steps}
    if unknown:
        raise SystemExit(f"no step '{min(unknown)}'; known: {', '.join(dict.fromkeys(step.name for step in steps))}")
    for step in reversed(steps):  # what is needed stands before what needs it
        if step.name in wanted:
            wanted.update(step.needs)
    return [step for step in steps if step.name in wanted]


def run(step: Step) -> int:
    """Run a step to its end and return its exit code; Ctrl-C and SIGTERM let it store its state."""
    step.output.parents[1].mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-m", "cmrgz", *step.command]) as process:

        def pass_on(number: int, frame: FrameType | None) -> None:
            del frame
            process.send_signal(number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:  # the process has it too
                    continue
        finally:
            signal.signal(signal.SIGTERM, before)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of all that is made")
    parser.add_argument("cines", nargs="*", default=[], help="real scans to train on")
    parser.add_argument("--validation", action="append", default=[], metavar="CINE", help="real scans to validate on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this one and what it needs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of every training")
    parser.add_argument("--installed", action="store_true", help="models on the tokenizers of the installed packages")
    parser.add_argument("--tiny", action="store_true", help="weights of no use, in seconds")
    parser.add_argument("--list", action="store_true", help="print the commands, and which are done")
    return parser.parse_args()


def main() -> int:
    """Run what is not done."""
    given = arguments()
    recipe = Recipe(given.out, given.cines, given.validation, given.device, given.tiny, given.installed, given.set)
    for step in chosen(list(recipe.steps()), given.only):
        print(f"{'done' if step.done else 'to do' if given.list else 'running'}: {step.name}: {step.line}", flush=True)
        if not given.list and not step.done and (code := run(step)):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
