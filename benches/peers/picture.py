#!/usr/bin/env python3
"""docs/performance.md and docs/performance.svg from the numbers of one run of w.

    picture.py RESULTS.tsv DOCS
"""
import math
import sys
from html import escape
from pathlib import Path

BEGIN, END = "<!-- made by picture.py: begin -->", "<!-- made by picture.py: end -->"
HBEAT, PEER, FLOOR, TEXT, GRID = "#c2410c", "#64748b", "#cbd5e1", "#1f2937", "#e5e7eb"
# Panels: workload, metric, title, rows that are left out.
PANELS = [
    ("W1", "ns a touch", "W1: ns a touch", ("clock at each touch", "now_ns = 0")),
    ("W2", "bytes a session", "W2: bytes a session", ()),
    ("W4", "CPU % of a core", "W4: CPU, % of a core", ()),
    ("W5", "drained after ms", "W5: last death after its deadline, ms", ()),
]
LEAST = 0.1


def read(path):
    """Facts, titles by workload, and {workload: {peer: {metric: (min, median, max)}}} in the order of the run."""
    facts, titles, numbers = [], {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if fields[0] == "# fact":
            facts.append(fields[1])
        elif fields[0] == "# title":
            titles[fields[1]] = fields[2]
        else:
            workload, peer, metric, *values = fields
            numbers.setdefault(workload, {}).setdefault(peer, {})[metric] = tuple(map(float, values))
    return facts, titles, numbers


def number(value):
    size = abs(value)
    if value == int(value) and size < 100:
        return str(int(value))
    if size >= 1e4:
        return f"{value:,.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


# ---- The tables ----

def cell(values):
    if values is None:
        return "–"
    least, middle, most = (number(value).replace("-", "−") for value in values)
    return middle if least == most else f"{middle} ({least} to {most})"


def tables(facts, titles, numbers):
    lines = []
    for kind, heading in (("machine", "Machine"), ("version", "Versions")):
        told = [fact.split(": ", 1)[1] for fact in facts if fact.startswith(f"{kind}: ")]
        lines += [f"{heading}: {'; '.join(told)}.", ""]
    lines += ["Each cell has the median of the rounds, and in brackets the least and the most. \"x\" is a quotient of the same",
              "round.", ""]
    for workload, rows in numbers.items():
        metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
        lines += [f"### {workload}", "", f"{titles[workload][0].upper()}{titles[workload][1:]}.", ""]
        lines += ["| | " + " | ".join(metrics) + " |", "|---|" + "---:|" * len(metrics)]
        for peer, row in rows.items():
            name = f"**{peer}**" if peer.startswith("hbeat") else peer
            lines.append(f"| {name} | " + " | ".join(cell(row.get(metric)) for metric in metrics) + " |")
        notes = [fact.split(": ", 1)[1] for fact in facts if fact.startswith(f"{workload}: ")]
        lines += ["", *(f"({note}.)\n" for note in notes)]
    return "\n".join(lines)


# ---- The picture ----

WIDTH, LABELS, BARS, LINE, MARGIN = 520, 225, 225, 20, 20


def text(x, y, what, anchor="start", size=12, weight="normal", fill=TEXT):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
            f'fill="{fill}">{escape(what)}</text>')


def colour(peer):
    return HBEAT if peer.startswith("hbeat") else FLOOR if peer.startswith("floor") else PEER


def panel(left, top, title, bars):
    """One chart, bars on a log scale; and how high it is."""
    least = 10 ** math.floor(math.log10(min(value for _, value in bars)))
    most = 10 ** math.ceil(math.log10(max(value for _, value in bars)))
    decades = max(1, round(math.log10(most / least)))
    start, bottom = left + LABELS, top + 28 + LINE * len(bars)
    parts = [text(left, top + 14, title, size=14, weight="bold")]
    for decade in range(decades + 1):
        x = start + BARS * decade / decades
        parts.append(f'<line x1="{x:.1f}" y1="{top + 24}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>')
        parts.append(text(x, bottom + 14, f"{least * 10 ** decade:,g}", "middle", 10))
    for i, (peer, value) in enumerate(bars):
        y = top + 26 + LINE * i
        long = max(2.0, BARS * math.log10(value / least) / decades)
        parts.append(text(start - 8, y + 14, peer, "end", 11, "bold" if peer.startswith("hbeat") else "normal"))
        parts.append(f'<rect x="{start}" y="{y + 3}" width="{long:.1f}" height="{LINE - 6}" fill="{colour(peer)}"/>')
        # On white, so that no grid line crosses the number.
        shown = f"at most {LEAST}" if value <= LEAST else number(value)
        parts.append(f'<rect x="{start + long + 3:.1f}" y="{y + 3}" width="{7 * len(shown) + 2}" height="{LINE - 6}" '
                     'fill="white"/>')
        parts.append(text(start + long + 5, y + 14, shown, size=11))
    return parts, bottom + 28 - top


def picture(numbers):
    parts, tops = [], [44.0, 44.0]
    for at, (workload, metric, title, left_out) in enumerate(PANELS):
        bars = [(peer.split(" (")[0], max(LEAST, row[metric][1])) for peer, row in numbers.get(workload, {}).items()
                if metric in row and not any(word in peer for word in left_out)]
        if not bars:
            continue
        side = at % 2
        top = max(tops) if side == 0 else tops[1]
        tops[0] = top if side == 0 else tops[0]
        drawn, height = panel(MARGIN + side * (WIDTH + MARGIN), top, title, bars)
        parts += drawn
        if side == 0:
            tops = [top + height, top]
        else:
            tops = [max(tops[0], top + height)] * 2
    wide, high = 2 * WIDTH + 3 * MARGIN, math.ceil(max(tops))
    legend = [text(MARGIN, 26, "hbeat and its peers, medians of one run, log scales", size=15, weight="bold")]
    for i, (fill, what) in enumerate(((HBEAT, "hbeat"), (PEER, "peers"), (FLOOR, "floor: a bound, no product"))):
        x = wide - 360 + (0, 80, 160)[i]
        legend += [f'<rect x="{x}" y="15" width="12" height="12" fill="{fill}"/>', text(x + 17, 26, what, size=12)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{wide}" height="{high}" fill="white"/>', *legend, *parts, "</svg>", ""])


def main():
    results, docs = map(Path, sys.argv[1:])
    facts, titles, numbers = read(results)
    (docs / "performance.svg").write_text(picture(numbers), encoding="utf-8")
    page = docs / "performance.md"
    head, rest = page.read_text(encoding="utf-8").split(BEGIN)
    made = tables(facts, titles, numbers)
    page.write_text(f"{head}{BEGIN}\n{made.rstrip()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
