"""What came out: a table on the terminal, JSON, Markdown, a plot, and the figures in docs/figures.json."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import ROOT, Row, shown

FIGURES = ROOT / "docs" / "figures.json"
COLOURS = {"met": "green", "missed": "red", "reported": "cyan", "skipped": "yellow"}


def target_of(row: Row) -> str:
    """The target, as at least or at most."""
    return f"{'≥' if row.sense == '>=' else '≤'} {row.target:g}" if row.target is not None else ""


def spread_of(given: dict[str, Any]) -> str:
    """The ratios of single pairs, and what other runs measured; empty where neither is recorded."""
    pairs, others = given.get("details", {}).get("ratios", []), given.get("other_runs", [])
    shown_pairs = [f"{min(pairs):.3g} to {max(pairs):.3g}, {len(pairs)} pairs"] if len(pairs) > 1 else []
    return "; ".join(shown_pairs + [f"other runs: {', '.join(f'{value:g}' for value in others)}"] * bool(others))


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
        *([result["remark"], ""] if result.get("remark") else []),
        "| what | measured | spread | target | verdict | note |",
        "|---|---:|---|---:|---|---|",
    ]
    for given in result["rows"]:
        row = Row(**{name: given[name] for name in ("key", "what", "measured", "target", "sense", "unit", "note")})
        cells = (row.what.strip(), shown(row).strip(), spread_of(given), target_of(row), row.verdict, row.note)
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
        record("run", recorded(result))
    console.print(f"\nwritten: {target}, and {name}.md, {name}.png, {name}.svg beside it", highlight=False)


def recorded(result: dict[str, Any]) -> dict[str, Any]:
    """A result as docs/figures.json keeps it: of the details only what its page and the README show."""
    kept = ("ratios", "service_per_second")
    rows = [
        {**row, "details": {name: row["details"][name] for name in kept if name in row["details"]}}
        for row in result["rows"]
    ]
    return {**result, "rows": rows}


def record_rows(rows: list[Row], about: dict[str, Any]) -> None:
    """Puts rows that were measured by themselves among those of the recorded run; each says when and of what it is."""
    if not FIGURES.is_file():
        return
    run = json.loads(FIGURES.read_text(encoding="utf-8"))["run"]
    said = f"measured by itself on {about['date']}, version {about['version']}"
    new = {
        row["key"]: {**row, "note": "; ".join(filter(None, (row["note"], said)))}
        for row in recorded(as_json(rows, about))["rows"]
    }
    kept = [new.pop(row["key"], row) for row in run["rows"]]
    record("run", {**run, "rows": kept + list(new.values())})


def record(part: str, value: dict[str, Any]) -> None:
    """Replaces a part of docs/figures.json; `make docs` makes the page of it."""
    if not FIGURES.is_file():
        return
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) | {part: value}
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def profile_markdown(profile: dict[str, Any]) -> str:
    """The tables of `--profile`, with their machine."""
    machine = profile["machine"]
    lines = [
        f"On {machine['cpus']} CPUs ({machine['processor']}), Postgres {machine['postgres']}, {profile['date']}.",
    ]
    for section in profile["sections"]:
        headings = section["headings"]
        lines += ["", f"**{section['title']}**", "", f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in section["rows"]]
    return "\n".join(lines)
