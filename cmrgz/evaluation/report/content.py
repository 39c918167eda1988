"""What a report says, in the order in which a reader needs it."""

from collections.abc import Iterator

import yaml

from cmrgz.evaluation.report.document import Alert, Block, Card, Cards, Document, Section, Text, Tone
from cmrgz.evaluation.report.figures.curves import CALIBRATED, INVENTED, QUALITY, figures
from cmrgz.evaluation.report.figures.spectrum import spectra
from cmrgz.evaluation.report.names import hidden, of_kind, patterns
from cmrgz.evaluation.report.numerals import interval, share
from cmrgz.evaluation.report.pictures import ORDER, Pictures, galleries
from cmrgz.evaluation.report.tables import anatomy, contrasts, floors, results, run, sets
from cmrgz.evaluation.summary.model import ClaimRow, Summary

TITLE = "From reconstruction to generation: models of cardiac MRI compared"
NOT_A_DEVICE = "Research only: cmrgz is not a medical device, and pixels that a model drew are not measured."
TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "warn"}
REMAKE = (
    "cmrgz evaluate --sweep SWEEP.yaml -o RUN    # runs what is missing; SWEEP.yaml holds the options below",
    "cmrgz evaluate report RUN                   # makes this report again from RUN, without a model",
    "cmrgz evaluate verify RUN                   # computes some cells again and compares",
)
FILES = "All numbers: estimates.csv (frame metrics), sets.csv (set metrics), summary.json (everything shown here)."
MOST_FAILURES = 50


def document(summary: Summary, pictures: Pictures) -> Document:
    """Return the report on a summary."""
    return Document(TITLE, lead(summary), tuple(_head(summary)), tuple(_sections(summary, pictures)))


def lead(summary: Summary) -> str:
    """Return what was run, in one sentence."""
    models = len(of_kind(summary, "model"))
    others = sum(method.kind not in ("model", "real") for method in summary.methods)
    draws = max((method.samples for method in of_kind(summary, "model")), default=1)
    masks = "; ".join(f"{p} ({', '.join(share(hidden(m)) for m in own)})" for p, own in patterns(summary.masks)[:6])
    more = ", and more" if len(patterns(summary.masks)) > 6 else ""
    who = " and ".join(_some(n, what) for n, what in ((models, "model"), (others, "reference")) if n)
    return (
        f"{who or 'Nothing'} on {_some(summary.frames, 'frame')} of "
        f"{_some(summary.subjects, 'patient')}, {_some(draws, 'sample')} a hidden frame; hidden: "
        f"{masks or 'nothing'}{more}."
    )


def _some(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _head(summary: Summary) -> Iterator[Block]:
    failed = [f"{gate.name}: {gate.detail}" for gate in summary.gates if gate.status == "fail"]
    unknown = [f"{gate.name}: {gate.detail}" for gate in summary.gates if gate.status == "unknown"]
    if failed:
        yield Alert("A validity gate failed: no number below counts", tuple(failed), "bad")
    if unknown:
        yield Alert("Not tested", tuple(unknown), "warn")
    if summary.failures:
        yield Alert(
            f"Some cells failed ({_some(len(summary.failures), 'reason')})", ("See the end of the report.",), "warn"
        )
    yield from floors.alerts(summary)
    yield Text((*map(_sentence, summary.caveats), NOT_A_DEVICE), listed=True)


def _sections(summary: Summary, pictures: Pictures) -> Iterator[Section]:
    for name, title, blocks, empty in (*_figures(summary, pictures), *_tables(summary)):
        yield Section(name, title, blocks or (Text((empty,)),))


Part = tuple[str, str, tuple[Block, ...], str]
"""Of a section: its anchor, its heading, what stands in it, and what is said where that is nothing."""


def _figures(summary: Summary, pictures: Pictures) -> Iterator[Part]:
    yield "claims", "Claims", _claims(summary), "No claim was tested."
    yield "spectrum", "The spectrum", spectra(summary), "No method has both an error and a distance of sets."
    yield "quality", "Quality against ratio", figures(summary, QUALITY), "There are no frame metrics."
    yield "invented", "Hallucination", figures(summary, INVENTED), "No measure of hallucination was computed."
    yield "calibration", "Calibration", figures(summary, CALIBRATED), "This needs two samples of each frame or more."
    yield "pictures", "Pictures", _pictures(summary, pictures), "No picture was kept."


def _tables(summary: Summary) -> Iterator[Part]:
    scored = (*sets.conditional(summary), *_listed(sets.reasons(summary)))
    whole = any(hidden(mask) >= 1 for mask in summary.masks)
    why = "The sets are too small to be scored." if whole else "No mask of this run hides everything (ratio 1)."
    drawn = "No features of results of which nothing was known, or no training frames to compare them with."
    beside = (*floors.gains(summary), *results.floors(summary))
    yield "floors", "T1 · Floors and controls", beside, "There is nothing but models."
    yield "generation", "T2 · Generation", sets.unconditional(summary), why
    yield "inpainting", "T3 · Inpainting by mask", results.inpainting(summary), "No frame metric is defined."
    yield "sets", "Sets of results by mask", scored, "There are no set metrics."
    yield "contrasts", "T4 · Paired contrasts", contrasts.contrasts(summary), "There are no two models to compare."
    yield "presets", "As in the paper, and mended", contrasts.presets(summary), "No model was run both ways."
    yield "biomarkers", "Biomarkers", anatomy.biomarkers(summary), "No scan has frames of both ends of the cycle."
    yield "memory", "Memorisation", anatomy.memory(summary), drawn
    yield "cost", "T5 · Cost", run.cost(summary), "Nothing was timed."
    yield "run", "How this was run", _run(summary), ""


def _claims(summary: Summary) -> tuple[Block, ...]:
    cards = tuple(_card(claim) for claim in summary.claims)
    return (Cards(cards),) if cards else ()


def _card(claim: ClaimRow) -> Card:
    text, note = interval(claim.effect, claim.low, claim.high)
    value = f"Effect {text} {note}, {_some(claim.subjects, 'patient')}" if note else ""
    verdict = claim.verdict.replace("-", " ") + (", descriptive" if claim.descriptive else "")
    tone = TONES.get(claim.verdict, "")
    return Card(claim.name, _sentence(claim.statement), verdict, tone, value, _sentence(claim.why))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _pictures(summary: Summary, pictures: Pictures) -> tuple[Block, ...]:
    found = galleries(summary, pictures)
    return (Text((ORDER,)), *found) if found else ()


def _listed(lines: tuple[str, ...]) -> tuple[Block, ...]:
    return (Text(("Not defined, where a dash stands:",)), Text(lines, listed=True)) if lines else ()


def _run(summary: Summary) -> tuple[Block, ...]:
    blocks: list[Block] = [*run.gates(summary), *_failures(summary), *run.masks(summary), *run.settings(summary)]
    options = run.public(summary.settings.get("options", {}))
    if options:
        text = yaml.safe_dump(options, sort_keys=False, default_flow_style=None, width=100).splitlines()
        blocks += [Text(("To run it again:",)), Text(REMAKE, code=True), Text(tuple(text), code=True)]
    return (*blocks, Text((FILES,)))


def _failures(summary: Summary) -> tuple[Block, ...]:
    if not summary.failures:
        return ()
    left = len(summary.failures) - MOST_FAILURES
    more = (f"and {left} more in summary.json",) if left > 0 else ()
    return (Text(("Why cells failed:",)), Text((*summary.failures[:MOST_FAILURES], *more), listed=True))
