"""The package that `cmrgz plugins new` writes."""

from pathlib import Path
from string import Template

from cmrgz.durable import exists, require_name, write_directory
from cmrgz.errors import UsageError
from cmrgz.registry import is_name

PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "cmrgz-$name"
version = "0.1.0"
description = "The model $name for cmrgz"
requires-python = ">=3.11"
dependencies = ["cmrgz>=0.1,<0.2"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points."cmrgz.models"]
$name = "$package:SPEC"

[tool.setuptools.packages.find]
include = ["$package"]
"""

SPEC = '''"""$name: what the registry shows; imports neither torch nor numpy."""

from cmrgz.plugin import ModelSpec

SPEC = ModelSpec(
    name="$name",
    family="regression",
    summary="each hidden pixel from a Gaussian that a small network predicts",
    build="$package.model:build",
    tiny={"width": 8},
)
'''

MODEL = '''"""The model: a loss, and a draw of what is hidden given what is known. Replace the network by your own."""

from typing import Annotated

import torch
from torch import Tensor, nn

from cmrgz.latents import position_pixels, smooth_fill, training_known
from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams

PATCH = 16


class $cls(Model):
    """Mean and spread of every hidden pixel, predicted from a smooth continuation of the known ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(2, width, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(width, 2, 5, padding=2),
        )

    def predict(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation (b, 1, h, w)."""
        filled = smooth_fill(x, known)
        change, log_std = self.network(torch.cat([filled, known.to(x.dtype)], 1)).float().chunk(2, 1)
        return filled + change, log_std.clamp(-5, 1)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return the negative log-likelihood of hidden pixels, under masks as they are in use."""
        positions = training_known((x.shape[2] // PATCH, x.shape[3] // PATCH), rng)
        known = position_pixels(positions, PATCH).to(x.device)
        mean, log_std = self.predict(x, known)
        nll = ((x - mean) / log_std.exp()).square() / 2 + log_std
        return nll[~known].mean()

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        temperature: Annotated[float, "spread of what is drawn; 0 is the mean", Range(0, 10)] = 1.0,
    ) -> Tensor:
        """Draw items; hidden values of x are not used, and all randomness comes from `rng`."""
        mean, log_std = self.predict(x, known)
        noise = rng.normal(*x.shape[1:]).to(x.device)
        if progress is not None:
            progress(1, 1)
        return mean + temperature * log_std.exp() * noise


def build(width: Annotated[int, "channels of the network", Range(1, 1024)] = 32) -> $cls:
    """Build the model; the keywords are the options of the architecture."""
    return $cls(width)
'''

TEST = """from cmrgz.testing.conformance import parametrize_with_checks


@parametrize_with_checks("$name")
def test_it_keeps_the_promises_of_the_protocol(check):
    check()
"""

README = """# cmrgz-$name

```
pip install -e ".[test]"
cmrgz plugins check $name
python -m pytest
cmrgz train $name DATA -o runs/$name
cmrgz inpaint scan.nii.gz --model runs/$name/checkpoint --mask 0.5 -o filled.nii.gz
```
"""

WORKFLOW = """name: test
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: pip install -e ".[test]"
      - run: python -m pytest
"""


def write(name: str, folder: Path) -> Path:
    """Write a package for a model and return its folder.

    Raises:
        UsageError: `range` for a name that no model may have, `exists`.
    """
    if not is_name(name) or name[0].isdigit():  # its class has the name, too
        raise UsageError("range", "NAME", "must be like my-model: letters, digits, hyphens", f"got '{name}'")
    require_name(folder)
    if exists(folder):
        raise UsageError("exists", str(folder), "is already there", hint="choose another --output")
    package = "cmrgz_" + name.replace("-", "_")
    words = {"name": name, "package": package, "cls": "".join(part.capitalize() for part in name.split("-"))}
    files = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"{package}/__init__.py": SPEC,
        f"{package}/model.py": MODEL,
        f"tests/test_{package}.py": TEST,
        ".github/workflows/test.yml": WORKFLOW,
    }
    write_directory(folder, {path: Template(text).substitute(words).encode() for path, text in files.items()})
    return folder
