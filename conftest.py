"""The ledger: what each notebook took, in seconds and memory, and each slider to redraw; a notebook's caps are held here."""

from collections import defaultdict
from pathlib import Path

import pytest

SECONDS, MEMORY = 5 * 90.0, 2 * 2**30  # a runaway is five times a chapter's 90 s; memory is a chapter's 2 GB


def _peak(pid: int) -> int:
    """Peak resident memory of a process in bytes; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and type(item).__name__ == "IPyNbCell":
        notebook = item.parent
        notebook.seconds = getattr(notebook, "seconds", 0.0) + report.duration
        peak = _peak(notebook.kernel.km.provisioner.pid)
        report.user_properties.append(("ledger", (f"{notebook.path.parent.name}/{notebook.path.name}", peak)))
        if report.passed and (notebook.seconds > SECONDS or peak > MEMORY):
            report.outcome = "failed"
            report.longrepr = f"{notebook.path.name} ran away: {notebook.seconds:.0f} s, {peak / 2**20:.0f} MiB."
    return report


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter):
    cells, redraws = defaultdict(lambda: [0.0, 0]), {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "ledger":
                    row = cells[value[0]]
                    row[0], row[1] = row[0] + report.duration, max(row[1], value[1])
                elif name == "redraw":
                    redraws[value[0]] = value[1:]
    if cells:
        terminalreporter.section("ledger")
        for name, (seconds, peak) in sorted(cells.items()):
            terminalreporter.line(f"{name:40s} {seconds:6.1f} s   {peak / 2**20:6.0f} MiB")
    if redraws:
        terminalreporter.section("sliders: milliseconds to redraw, median and longest (aim: 200)")
        for name, (median, longest) in sorted(redraws.items()):
            terminalreporter.line(f"{name:40s} {1000 * median:6.0f} {1000 * longest:6.0f}")
    return (yield)
