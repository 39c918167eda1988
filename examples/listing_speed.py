"""How long `cmrgz --help`, `models` and `plugins list` take with ten more plugins installed: the best and median of N.

python examples/listing_speed.py --repeats 9
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = ("--help", "models", "plugins list", "plugins --help")
SPEC = """from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="{name}", family="test", summary="one of ten plugins", build="nowhere:build")
"""


def install(site: Path, count: int) -> None:
    """Lay out plugins as pip would."""
    for name in (f"plugin-{number}" for number in range(count)):
        module = name.replace("-", "_")
        folder = site / f"cmrgz_{module}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cmrgz-{name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[cmrgz.models]\n{name} = {module}:SPEC\n")
        (site / f"{module}.py").write_text(SPEC.format(name=name))


def seconds(command: list[str], environment: dict[str, str], repeats: int) -> list[float]:
    """Return how long each run of a command takes, after one that is not counted."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - start)
    return found[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--plugins", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), options.plugins)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])}
        for words in ("-c pass", *(f"-m cmrgz {command}" for command in COMMANDS)):
            times = seconds([sys.executable, *words.split()], environment, options.repeats)
            print(f"python {words:<24}  best {min(times):.3f} s  median {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main()
