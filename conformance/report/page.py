"""One HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape

from conformance.judge import Judgement, Verdict
from conformance.report import Cell, Report, hosts_line, rows

COLOURS = {  # from good to bad
    Verdict.UNAVAILABLE: "#ececec",
    Verdict.PASSED: "#d8f0d8",
    Verdict.KNOWN: "#f8e6c0",
    Verdict.FAILED: "#f6c6c6",
}
STYLE = """body { font: 15px/1.4 sans-serif; margin: 2em; } table { border-collapse: collapse; }
td, th { border: 1px solid #bbb; padding: .3em .6em; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: #fff; }
pre { white-space: pre-wrap; font-size: 12px; max-width: 40em; }"""


def verdict_of(one: Judgement, host: str) -> str:
    reason = f"<pre>{escape(one.reason)}</pre>" if one.reason else ""
    return f"{host}{escape(one.verdict.value)}{reason}"


def cell_of(cell: Cell) -> str:
    told = cell.telling
    worst = max((one.verdict for _, one in told), key=list(COLOURS).index)
    several = len(told) > 1
    shown = "<br>".join(verdict_of(one, f"{number}: " if several else "") for number, one in told)
    return f'<td style="background: {COLOURS[worst]}">{shown}</td>'


def page(reports: Sequence[Report]) -> str:
    """The table, requirement by runtime, with what was seen in each cell that does not pass."""
    head = "".join(f"<th>{escape(runtime)}</th>" for runtime in reports[0].judgements)
    lines = []
    for requirement, cells in rows(reports):
        link, level = requirement.link, requirement.level.value
        shown = f'<a href="{escape(link)}">{level}</a>' if link else level
        told = f"<code>{escape(requirement.identifier)}</code><br>{escape(requirement.sentence)}"
        lines.append(f"<tr><td>{told}</td><td>{shown}</td>{''.join(map(cell_of, cells))}</tr>")
    hosts = "".join(f"<li>host {escape(line)}</li>" for line in hosts_line(reports))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Conformance</title>'
        f"<style>{STYLE}</style><h1>Conformance to runtime-spec 1.3</h1><ul>{hosts}</ul>"
        f"<table><tr><th>Requirement</th><th>Level</th>{head}</tr>\n"
        + "\n".join(lines)
        + "\n</table></html>\n"
    )
