"""What a report says, in the order in which a reader needs it."""

from collections.abc import Iterable, Iterator

import yaml

from cmrgz.evaluation.report.document import Alert, Block, Card, Cards, Document, Section, Text, Tone
from cmrgz.evaluation.report.figures.curves import CALIBRATED, INVENTED, QUALITY, figures
from cmrgz.evaluation.report.figures.spectrum import spectra
from cmrgz.evaluation.report.names import hidden, of_kind, patterns
from cmrgz.evaluation.report.numerals import interval, share
from cmrgz.evaluation.report.pictures import ORDER, Pictures, galleries
from cmrgz.evaluation.report.tables import details, floors, results, run
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import ClaimRow

TITLE = "From reconstruction to generation: models of cardiac MRI compared"
NOT_A_DEVICE = (
    "This is for research only. cmrgz is not a medical device, and pixels that a model drew were not measured."
)
TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "warn"}
REMAKE = (
    "cmrgz evaluate --sweep SWEEP.yaml -o RUN    # runs what is missing; SWEEP.yaml holds the options below",
    "cmrgz evaluate report RUN                   # makes this report again from RUN, without a model",
    "cmrgz evaluate verify RUN                   # computes some cells again and compares",
)
FILES = (
    "All numbers are in estimates.csv (metrics of frames), sets.csv (metrics of sets of frames) and summary.json "
    "(everything that is shown here)."
)
GUIDE = (
    "Part of each frame is hidden, and each method draws it anew from the rest. The hole is what was hidden.",
    "Baselines fill the hole without a network: what a model is worth shows in what it gains on the best of them. "
    "Bounds see the hidden pixels and show how good a result can be, for example what a model's tokenizer loses. "
    "Controls see them too, and are wrong on purpose.",
    "Numbers are means over patients, and brackets hold 95 % intervals over patients. An arrow says which way is "
    "better. A dash means that a number is not defined.",
    "Metrics of frames compare a result with the truth. Metrics of sets, such as KID, ask whether results as a whole "
    "look like real frames; they are distances between features of the images.",
)
JUDGED = (
    "Each claim is judged by a rule that was fixed before any result was seen. Its effect is in the unit of the metric "
    "that the explanation names."
)
MOST_FAILURES = 50


def document(summary: Summary, pictures: Pictures) -> Document:
    """Return the report on a summary."""
    return Document(TITLE, lead(summary), tuple(_head(summary)), tuple(_sections(summary, pictures)))


def lead(summary: Summary) -> str:
    """Return what was run, in two sentences."""
    models = len(of_kind(summary, "model"))
    others = sum(method.kind not in ("model", "real") for method in summary.methods)
    draws = max((method.samples for method in of_kind(summary, "model")), default=1)
    groups = patterns(summary.masks)
    masks = "; ".join(f"{pattern} ({', '.join(share(hidden(m)) for m in own)})" for pattern, own in groups[:6])
    more = ", and more" if len(groups) > 6 else ""
    who = " and ".join(_some(n, what) for n, what in ((models, "model"), (others, "reference")) if n) or "nothing"
    return (
        f"This report compares {who} on {_some(summary.frames, 'frame')} of {_some(summary.subjects, 'patient')}, with "
        f"{_some(draws, 'sample')} of each frame. What was hidden: {masks or 'nothing'}{more}."
    )


def _some(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _head(summary: Summary) -> Iterator[Block]:
    failed, unknown = (_found(summary, status) for status in ("fail", "unknown"))
    if failed:
        yield Alert("A validity gate failed: no number below counts", failed, "bad")
    if unknown:
        yield Alert("This could not be tested", unknown, "warn")
    if summary.failures:
        reasons = _some(len(summary.failures), "reason")
        yield Alert(f"Some cells failed ({reasons})", ("The reasons are at the end of the report.",), "warn")
    yield from floors.alerts(summary)
    yield Text((*map(_sentence, summary.caveats), NOT_A_DEVICE), listed=True)


def _found(summary: Summary, status: str) -> tuple[str, ...]:
    return tuple(f"{gate.name}: {gate.detail}" for gate in summary.gates if gate.status == status)


def _sections(summary: Summary, pictures: Pictures) -> Iterator[Section]:
    yield _section("guide", "How to read this report", [Text(GUIDE, listed=True)])
    yield _section("claims", "Claims", _claims(summary), "No claim was tested.")
    yield from _figures(summary, pictures)
    yield from _tables(summary)
    yield _section("run", "How this was run", _run(summary))


def _section(name: str, title: str, blocks: Iterable[Block], empty: str = "") -> Section:
    """Return a section; what is said where there is nothing to show stands in its place, so that no link is lost."""
    return Section(name, title, tuple(blocks) or (Text((empty,)),))


def _figures(summary: Summary, pictures: Pictures) -> Iterator[Section]:
    flat = "No method has both an error and a distance of sets."
    yield _section("spectrum", "Error against realism", spectra(summary), flat)
    yield _section("quality", "Quality as more is hidden", figures(summary, QUALITY), "There are no metrics of frames.")
    invented = figures(summary, INVENTED)
    yield _section("invented", "Hallucination", invented, "No measure of hallucination was computed.")
    calibrated = figures(summary, CALIBRATED)
    yield _section("calibration", "Calibration", calibrated, "This needs two or more samples of each frame.")
    shown = galleries(summary, pictures)
    yield _section("pictures", "Pictures", (Text((ORDER,)), *shown) if shown else (), "No picture was kept.")


def _tables(summary: Summary) -> Iterator[Section]:
    beside = (*floors.gains(summary), *results.floors(summary))
    whole = any(hidden(mask) >= 1 for mask in summary.masks)
    why = "The sets are too small to be scored." if whole else "No mask of this run hides a frame whole."
    scored = (*results.conditional(summary), *_listed("Where a dash stands, this is why:", results.reasons(summary)))
    drawn = "There are no features of frames that were hidden whole, or no training frames to compare them with."
    volumes = "No scan has frames of both ends of the cardiac cycle."
    yield _section("floors", "Floors and controls", beside, "There is nothing but models.")
    yield _section("generation", "Generation from nothing", results.unconditional(summary), why)
    yield _section("inpainting", "Inpainting by mask", results.inpainting(summary), "No metric of frames is defined.")
    yield _section("sets", "Sets of results by mask", scored, "There are no metrics of sets.")
    yield _section("contrasts", "Paired contrasts", details.contrasts(summary), "There are no two models to compare.")
    yield _section("presets", "As in the paper, and mended", results.presets(summary), "No model was run both ways.")
    yield _section("biomarkers", "Biomarkers", details.biomarkers(summary), volumes)
    yield _section("memory", "Memorisation", details.memory(summary), drawn)
    yield _section("cost", "Cost", run.cost(summary), "Nothing was timed.")


def _claims(summary: Summary) -> tuple[Block, ...]:
    return (Text((JUDGED,)), Cards(tuple(map(_card, summary.claims)))) if summary.claims else ()


def _card(claim: ClaimRow) -> Card:
    text, note = interval(claim.effect, claim.low, claim.high)
    value = f"Effect {text} {note}, {_some(claim.subjects, 'patient')}" if note else ""
    verdict = claim.verdict.replace("-", " ") + (", descriptive" if claim.descriptive else "")
    tone = TONES.get(claim.verdict, "")
    return Card(claim.name, _sentence(claim.statement), verdict, tone, value, _sentence(claim.why))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _listed(head: str, lines: tuple[str, ...]) -> tuple[Block, ...]:
    return (Text((head,)), Text(lines, listed=True)) if lines else ()


def _run(summary: Summary) -> Iterator[Block]:
    left = len(summary.failures) - MOST_FAILURES
    more = (f"and {left} more in summary.json",) if left > 0 else ()
    yield from run.gates(summary)
    yield from _listed("Why cells failed:", (*summary.failures[:MOST_FAILURES], *more))
    yield from (*run.masks(summary), *run.settings(summary))
    options = run.public(summary.settings.get("options", {}))
    if options:
        text = yaml.safe_dump(options, sort_keys=False, default_flow_style=None, width=100).splitlines()
        yield from (Text(("To run it again:",)), Text(REMAKE, code=True), Text(tuple(text), code=True))
    yield Text((FILES,))
