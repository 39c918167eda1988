"""What a report says, in the order in which a reader needs it."""

from collections.abc import Iterable, Iterator

import yaml

from cmrgz.evaluation.claims.evidence import Verdict
from cmrgz.evaluation.report.document import Alert, Block, Card, Cards, Document, Section, Text, Tone
from cmrgz.evaluation.report.figures.curves import CURVES, figures
from cmrgz.evaluation.report.figures.spectrum import spectra
from cmrgz.evaluation.report.names import WORDS, hidden, notes, of_kind, patterns
from cmrgz.evaluation.report.numerals import interval, share
from cmrgz.evaluation.report.pictures import Pictures, galleries
from cmrgz.evaluation.report.tables import details, floors, results, run
from cmrgz.evaluation.scoring import SPREAD
from cmrgz.evaluation.summary.model import Summary

TONES: dict[str, Tone] = {"supported": "good", "refuted": "bad", "undecided": "warn"}
MOST_FAILURES = 50


def document(summary: Summary, pictures: Pictures) -> Document:
    """Return the report on a summary."""
    return Document(WORDS["title"], lead(summary), tuple(_head(summary)), tuple(_sections(summary, pictures)))


def lead(summary: Summary) -> str:
    """Return what was run, in two sentences."""
    models = len(of_kind(summary, "model"))
    others = sum(method.kind not in ("model", "real") for method in summary.methods)
    # baselines without chance draw once: what a reader asks is how often the models drew
    draws = max((method.samples for method in of_kind(summary, "model")), default=1)
    groups = patterns(summary.masks)
    # a sweep of many patterns would fill the page before its first number
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
    # worst first: what makes every number worthless, then what makes some of them doubtful
    failed, unknown = (_found(summary, status) for status in ("fail", "unknown"))
    if failed:
        yield Alert("A validity gate failed: no number below counts", failed, "bad")
    if unknown:
        yield Alert("This could not be tested", unknown, "warn")
    if summary.failures:
        reasons = _some(len(summary.failures), "reason")
        yield Alert(f"Some cells failed ({reasons})", ("The reasons are at the end of the report.",), "warn")
    yield from floors.alerts(summary)
    yield Text((*map(_sentence, summary.caveats), WORDS["device"]), listed=True)


def _found(summary: Summary, status: str) -> tuple[str, ...]:
    return tuple(f"{gate.name}: {gate.detail}" for gate in summary.gates if gate.status == status)


def _sections(summary: Summary, pictures: Pictures) -> Iterator[Section]:
    shown = galleries(summary, pictures)
    why = _listed("Where a dash stands, this is why:", results.reasons(summary))
    yield _section("guide", [Text(tuple(WORDS["guide"]), listed=True)])
    yield _section("claims", _claims(summary))
    yield from _figures(summary)
    yield _section("pictures", (Text((notes("pictures").format(most=1 / SPREAD),)), *shown) if shown else ())
    yield _section("floors", (*floors.gains(summary), *results.floors(summary)))
    yield _section("generation", results.sets(summary, whole=True))
    yield _section("inpainting", results.inpainting(summary))
    yield _section("sets", (*results.sets(summary, whole=False), *why))
    yield _section("contrasts", details.contrasts(summary))
    yield _section("presets", results.presets(summary))
    yield _section("biomarkers", details.biomarkers(summary))
    yield _section("memory", details.memory(summary))
    yield _section("cost", run.cost(summary))
    yield _section("run", _run(summary))


def _figures(summary: Summary) -> Iterator[Section]:
    yield _section("spectrum", spectra(summary))
    yield from (_section(kind, figures(summary, kind)) for kind in CURVES)


def _section(name: str, blocks: Iterable[Block]) -> Section:
    """Return a section; where it has nothing to show it says so, so that every link of the page leads somewhere."""
    title, *empty = WORDS["sections"][name]
    return Section(name, title, tuple(blocks) or (Text(tuple(empty)),))


def _claims(summary: Summary) -> tuple[Block, ...]:
    return (Text((notes("claims"),)), Cards(tuple(map(_card, summary.claims)))) if summary.claims else ()


def _card(claim: Verdict) -> Card:
    effect = claim.interval
    text, note = interval(effect.point, effect.low, effect.high)
    # without an interval a claim was not tested, and its effect says nothing
    value = f"Effect {text} {note}, {_some(effect.n, 'patient')}" if note else ""
    verdict = claim.outcome.replace("-", " ") + (", descriptive" if claim.descriptive else "")
    tone = TONES.get(claim.outcome, "")
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
    # as a file for --sweep, so that it can be pasted and run
    options = run.public(summary.settings.get("options", {}))
    if options:
        text = yaml.safe_dump(options, sort_keys=False, default_flow_style=None, width=100).splitlines()
        yield from (Text(("To run it again:",)), Text(tuple(WORDS["again"]), code=True), Text(tuple(text), code=True))
    yield Text((notes("files"),))
