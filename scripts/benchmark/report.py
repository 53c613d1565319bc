"""The figures as a table, as JSON and as a picture."""

from html import escape
from statistics import median

from scenarios import Figures

COLOURS = ("#2b6cb0", "#dd8452", "#7f7f7f", "#55a868")


def medians(figures: Figures) -> dict[str, dict[str, float]]:
    return {
        row: {name: round(median(values), 2) for name, values in columns.items() if values}
        for row, columns in figures.items()
    }


def ratios(figures: Figures, subject: str) -> dict[str, dict[str, float]]:
    """Medians of the quotients round by round, subject / other."""
    return {
        row: {
            name: round(median(x / y for x, y in zip(columns[subject], values, strict=False)), 2)
            for name, values in columns.items()
            if name != subject and values and columns.get(subject)
        }
        for row, columns in figures.items()
    }


def table(title: str, unit: str, figures: Figures, names: list[str]) -> str:
    """A Markdown table: the median of each runtime, and the subject's ratio to the others."""
    subject, *others = names
    heading = [f"{title} ({unit})", *names, *(f"{subject} / {other}" for other in others)]
    lines = [f"| {' | '.join(heading)} |", f"|---|{'---:|' * (len(heading) - 1)}"]
    middle, quotient = medians(figures), ratios(figures, subject)
    for row in figures:
        cells = [format_number(middle[row].get(name)) for name in names]
        cells += [format_number(quotient[row].get(name)) for name in others]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def format_number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def picture(figures: Figures, names: list[str], caption: str) -> str:
    """Bars, one group for each verb, as SVG."""
    middle = medians(figures)
    width, height, left, bottom, top = 900.0, 380.0, 50.0, 50.0, 60.0
    highest = max(value for columns in middle.values() for value in columns.values()) * 1.05
    scale = (height - top - bottom) / highest
    group = (width - left - 10) / len(middle)
    bar = group * 0.8 / len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<g font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20" font-size="14">{escape(caption)}</text>',
    ]
    for index, name in enumerate(names):
        x = left + index * 120
        parts.append(f'<rect x="{x}" y="32" width="12" height="12" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(f'<text x="{x + 18}" y="43">{escape(name)}</text>')
    for place, (row, columns) in enumerate(middle.items()):
        start = left + place * group + group * 0.1
        for index, name in enumerate(names):
            value = columns.get(name, 0)
            x, y = start + index * bar, height - bottom - value * scale
            colour = COLOURS[index % len(COLOURS)]
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar * 0.92:.1f}" height="{value * scale:.1f}" fill="{colour}"/>'
            )
            parts.append(
                f'<text x="{x + bar / 2:.1f}" y="{y - 4:.1f}" font-size="9" text-anchor="middle">{value:.1f}</text>'
            )
        parts.append(
            f'<text x="{start + group * 0.4:.1f}" y="{height - 28}" text-anchor="middle">{escape(row)}</text>'
        )
    parts.append(
        f'<line x1="{left}" y1="{height - bottom}" x2="{width - 10}" y2="{height - bottom}" stroke="black"/>'
    )
    parts.append("</g></svg>\n")
    return "\n".join(parts)
