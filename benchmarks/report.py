"""What came out: a table on the terminal, JSON, Markdown, a plot, and the figures in docs/performance.md."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import ROOT, Row, shown

DOCS = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by python -m benchmarks -->", "<!-- end of figures -->"
COLOURS = {"met": "green", "missed": "red", "reported": "cyan", "skipped": "yellow"}


def target_of(row: Row) -> str:
    """The target, as at least or at most."""
    return f"{'≥' if row.sense == '>=' else '≤'} {row.target:g}" if row.target is not None else ""


def table(rows: list[Row]) -> Table:
    """The report, ratios first."""
    made = Table(title="Measured against the targets", title_justify="left", box=None, padding=(0, 1))
    for heading in ("measured", "target", "verdict", "what", "note"):
        made.add_column(heading, justify="right" if heading in ("measured", "target") else "left", overflow="fold")
    for row in rows:
        colour = COLOURS[row.verdict]
        made.add_row(shown(row), target_of(row), f"[{colour}]{row.verdict}[/{colour}]", row.what, row.note)
    return made


def as_json(rows: list[Row], about: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, and where."""
    return {
        **about,
        "rows": [
            {
                "key": row.key,
                "what": row.what,
                "measured": row.measured,
                "unit": row.unit,
                "target": row.target,
                "sense": row.sense,
                "verdict": row.verdict,
                "note": row.note,
                "details": row.details,
            }
            for row in rows
        ],
    }


def markdown(result: dict[str, Any]) -> str:
    """The table for documents, with its machine."""
    machine = result["machine"]
    settings = ", ".join(f"{name} {given}" for name, given in machine["settings"].items())
    lines = [
        (
            f"{result['form'].capitalize()} run of {result['date']}, {result['minutes']:.0f} minutes, "
            f"version {result['version']}, on {machine['cpus']} CPUs ({machine['processor']}), "
            f"{machine['memory_gb']:g} GB, {machine['system']}, Postgres {machine['postgres']}, "
            f"Python {machine['python']}. Server: {settings}."
        ),
        "",
        "| measured | target | verdict | what | note |",
        "|---:|---:|---|---|---|",
    ]
    for given in result["rows"]:
        row = Row(**{name: given[name] for name in ("key", "what", "measured", "target", "sense", "unit", "note")})
        cells = (shown(row), target_of(row), row.verdict, row.what.strip(), row.note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], folder: Path, name: str) -> None:
    """Each target as a bar: how far the measured value is beyond it, as a ratio, on one axis."""
    import matplotlib as mpl  # noqa: PLC0415 - heavy, and only at the end

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the choice of the backend

    mpl.rcParams["svg.hashsalt"] = "webhook-router"
    rows = [row for row in result["rows"] if row["measured"] and row["target"]]
    margins = [
        row["measured"] / row["target"] if row["sense"] == ">=" else row["target"] / row["measured"] for row in rows
    ]
    figure, axes = plt.subplots(figsize=(11, 0.42 * len(rows) + 1.4))
    positions = range(len(rows))
    axes.barh(positions, margins, color=["#2a9d5c" if margin >= 1 else "#c8553d" for margin in margins], height=0.62)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")  # its labels would overlap
    axes.set_xlim(min(0.1, min(margins, default=1) / 1.5), max(margins, default=1) * 6)
    axes.set_yticks(positions, [row["what"].strip() for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("measured ÷ target (upper limits: target ÷ measured)\nright of the line is met")
    for position, row, margin in zip(positions, rows, margins, strict=True):
        one = Row(key="", what="", measured=row["measured"], unit=row["unit"], target=row["target"], sense=row["sense"])
        axes.text(margin * 1.06, position, f"{shown(one)}  (target {target_of(one)})", va="center", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    machine = result["machine"]
    figure.suptitle(
        f"webhook-router {result['version']}, {result['form']} run, {machine['cpus']} CPUs, "
        f"Postgres {machine['postgres']}",
        x=0.02,
        ha="left",
    )
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(folder / f"{name}.{kind}", dpi=130, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)


def write(rows: list[Row], about: dict[str, Any], *, console: Console, json_path: Path | None, complete: bool) -> None:
    """Shows the table and writes the files; the document gets the figures of a complete full run only."""
    console.print()
    console.print(table(rows))
    result = as_json(rows, about)
    name = about["form"]
    target = json_path or ROOT / "benchmarks" / "results" / f"{name}.json"
    folder, name = target.parent, target.stem
    folder.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(result), encoding="utf-8")
    plot(result, folder, name)
    if complete and about["form"] == "full":
        write_figures(markdown(result), BEGIN, END)
    console.print(f"\nwritten: {target}, and {name}.md, {name}.png, {name}.svg beside it", highlight=False)


def write_figures(text: str, begin: str, end: str) -> None:
    """Replaces what stands between two marks of docs/performance.md."""
    if not DOCS.is_file():
        return
    before, mark, rest = DOCS.read_text(encoding="utf-8").partition(begin)
    if mark and end in rest:
        after = rest.partition(end)[2]
        DOCS.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
