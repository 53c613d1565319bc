"""One HTML page that needs nothing else."""

from html import escape

from conformance.judge import Judgement, Verdict
from conformance.report import Judgements

COLOURS = {
    Verdict.PASSED: "#d8f0d8",
    Verdict.FAILED: "#f6c6c6",
    Verdict.KNOWN: "#f8e6c0",
    Verdict.UNAVAILABLE: "#ececec",
}
STYLE = """body { font: 15px/1.4 sans-serif; margin: 2em; } table { border-collapse: collapse; }
td, th { border: 1px solid #bbb; padding: .3em .6em; text-align: left; vertical-align: top; }
pre { white-space: pre-wrap; font-size: 12px; max-width: 40em; }"""


def cell(one: Judgement) -> str:
    reason = f"<pre>{escape(one.reason)}</pre>" if one.reason else ""
    return f'<td style="background: {COLOURS[one.verdict]}">{escape(one.verdict.value)}{reason}</td>'


def page(judgements: Judgements) -> str:
    """The table, requirement by runtime, with what was seen in each cell that does not pass."""
    head = "".join(f"<th>{escape(runtime)}</th>" for runtime in judgements)
    rows = []
    for row in zip(*judgements.values(), strict=True):
        one = row[0].requirement
        level = f'<a href="{escape(one.link)}">{one.level.value}</a>' if one.link else one.level.value
        told = f"<code>{escape(one.identifier)}</code><br>{escape(one.sentence)}"
        rows.append(f"<tr><td>{told}</td><td>{level}</td>{''.join(map(cell, row))}</tr>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Conformance</title>'
        f"<style>{STYLE}</style><h1>Conformance to runtime-spec 1.3</h1>"
        f"<table><tr><th>Requirement</th><th>Level</th>{head}</tr>\n"
        + "\n".join(rows)
        + "\n</table></html>\n"
    )
