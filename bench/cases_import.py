"""What starting costs (P11): the import, and the import with the whole stack configured, each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .measure import Lab
from .stack import ai_stack
from .table import Row, Section

IMPORT_LIMIT = 60.0  # milliseconds
CONFIGURED_LIMIT = 250.0  # milliseconds


async def imports(lab: Lab) -> Section:
    """P11: CPU time of imports, median over fresh processes."""
    made = ai_stack()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aigw.json"
        path.write_text(json.dumps(made.config))
        commands = {
            "package": ["aigw_middleware"],
            "stack": ["aigw_middleware", str(path)],
            "floor": ["asyncio,logging,msgspec,pydantic.main,pydantic.fields"],
            "starlette": ["starlette.applications"],
            "fastapi": ["fastapi"],
        }
        compiled = Path(folder) / "compiled"
        for arguments in commands.values():
            _run(arguments, compiled)  # writes the compiled modules, wherever those of the installation are
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(9 if lab.effort.thorough else 1):
            lab.progress(f"round {number + 1}")
            for name, arguments in commands.items():
                times[name].append(_run(arguments, compiled))
    median = {name: statistics.median(values) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}

    def row(what: str, name: str) -> Row:
        return Row(what, median[name], unit="ms", least=least[name])

    return Section(
        "P11",
        "starting: CPU time in a process of its own",
        [
            row("import aigw_middleware", "package").within("60 ms", IMPORT_LIMIT),
            row("import, and the AI stack configured", "stack").within("250 ms", CONFIGURED_LIMIT),
            row("import asyncio, pydantic and msgspec", "floor"),
            row("import starlette.applications", "starlette"),
            row("import fastapi", "fastapi"),
        ],
        ["with compiled modules on disk; plug-ins that are sketched are left out here", made.note],
    )


def _run(arguments: list[str], compiled: Path) -> float:
    command = [sys.executable, "-m", "bench.startup", *arguments]
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    surroundings["PYTHONPYCACHEPREFIX"] = str(compiled)
    folder = Path(__file__).parent.parent
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=surroundings)
    return float(answer.stdout)
