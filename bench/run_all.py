"""Run every benchmark, and say which goals are met.

    python bench/run_all.py [--quick] [--only preprocess,filters] [--readme]

Options of the single scripts (--quick, --runs, --people, --threads, --data) are passed
on. Each script runs in a process of its own, one after the other; let nothing else run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results import GOALS, Row, machine, table

HERE = Path(__file__).parent
ORDER = (
    "import",
    "preprocess",
    "reader",
    "filters",
    "windows",
    "features",
    "riemann",
    "training",
)
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
# From worst to best: a goal that several rows are held to is as good as its worst.
_VERDICTS = ("numbers differ", "missed", "met", "stretch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write and print; 1 if a script failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="scripts, by the end of their names")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument(
        "--readme", action="store_true", help="rewrite README's results"
    )
    options, passed_on = parser.parse_known_args(arguments)
    names = [name for name in options.only.split(",") if name] or ORDER
    done, failed = {}, []
    for name in names:
        print(f"\nbench_{name}.py {' '.join(passed_on)}", flush=True)
        result = run_script(name, passed_on)
        if result is None:
            failed.append(name)
        else:
            done[name] = result
    goals = judge(done)
    everything = {"machine": machine(), "goals": goals, "scripts": done}
    options.out.write_text(json.dumps(everything, indent=1) + "\n")
    print(f"\n{summary(goals)}\n\nwritten to {options.out}")
    if options.readme:
        write_readme(HERE / "README.md", everything)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run_script(name: str, passed_on: Sequence[str]) -> dict[str, Any] | None:
    """Run one script and return what it writes; None if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "rows.json"
        script = HERE / f"bench_{name}.py"
        command = [sys.executable, str(script), *passed_on, "--json", str(written)]
        if subprocess.run(command, check=False).returncode:
            return None
        return json.loads(written.read_text())


def judge(done: Mapping[str, Mapping]) -> dict[str, dict[str, Any]]:
    """Return value and verdict of every goal, that of its worst row."""
    goals = {}
    for name, goal in GOALS.items():
        rows = [
            row
            for script in done.values()
            for row in script["rows"]
            if row["goal"] == name
        ]
        worst = min(rows, key=lambda row: _VERDICTS.index(row["verdict"]), default=None)
        value = verdict = None
        if worst is not None:
            value = worst["ratio"] if worst["value"] is None else worst["value"]
            verdict = worst["verdict"]
        goals[name] = {**goal._asdict(), "value": value, "verdict": verdict}
    return goals


def summary(goals: Mapping[str, Mapping]) -> str:
    """Lay the goals out as aligned text."""
    lines = []
    for name, goal in goals.items():
        sign = "<=" if goal["below"] else ">="
        stretch = "" if goal["stretch"] is None else f", stretch {goal['stretch']:g}"
        value = "-" if goal["value"] is None else f"{goal['value']:.3g}"
        wanted = f"{sign} {goal['limit']:g}{stretch}"
        verdict = goal["verdict"] or "not measured"
        lines.append(
            f"{name:14} {value:>7}  {wanted:24} {verdict:15} {goal['what']}".rstrip()
        )
    return "\n".join(lines)


def write_readme(path: Path, everything: Mapping[str, Any]) -> None:
    """Put the results between the two markers of a text."""
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    facts = everything["machine"]
    versions = ", ".join(
        f"{name} {facts[name]}"
        for name in facts
        if name not in ("cpu", "cores", "memory_gb") and facts[name]
    )
    machine_line = (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB; {versions}."
    )
    blocks = [machine_line, f"```text\n{summary(everything['goals'])}\n```"]
    for name, script in everything["scripts"].items():
        rows = [Row(**as_row(row)) for row in script["rows"]]
        blocks.append(f"### bench_{name}.py\n\n```text\n{table(rows)}\n```")
    text = "\n\n".join(blocks)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def as_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what a row works out by itself."""
    return {k: v for k, v in row.items() if k not in ("ratio", "verdict")}


if __name__ == "__main__":
    sys.exit(main())
