"""Write the page on which people decide: one HTML file with its pictures and its script, which makes no request.

The page shows only the faces in view, so that thousands scroll smoothly; decisions stay in the browser's own storage
until they are saved as decisions.csv.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from mien import __version__
from mien.files import write_text
from mien.inspection.findings import Finding, list_findings, to_json, write_numbers
from mien.inspection.inspect import Inspection
from mien.reports import formatting
from mien.reports.gallery import picture_uri
from mien.reports.report import report_environment

PAGE = "inspection.html"


def write_inspection(folder: Path, inspection: Inspection, shown: int) -> Path:
    """Write the page of the worst ``shown`` findings and, last, the numbers; return the page's path."""
    findings = list_findings(inspection)
    text = render(inspection, findings[:shown], len(findings))
    write_text(folder / PAGE, text)
    write_numbers(folder, inspection)
    return folder / PAGE


def render(inspection: Inspection, findings: list[Finding], total: int) -> str:
    """Return the page's HTML."""
    environment: jinja2.Environment = report_environment()
    data = json.dumps(_data(inspection, findings), ensure_ascii=False, allow_nan=False)
    return environment.get_template("inspection.html.j2").render(
        numbers=to_json(inspection),
        # Inside a script element only "<" could end it.
        data=data.replace("<", "\\u003c"),
        title=formatting.figure_title,
        number=formatting.format_number,
        shown=len(findings),
        total=total,
        version=__version__,
    )


def _data(inspection: Inspection, findings: list[Finding]) -> dict[str, Any]:
    """Return what the script needs: tasks, pictures, and an entry for each finding."""
    manifest, crops = inspection.dataset.manifest, inspection.dataset.crops
    place: dict[int, int] = {}
    faces: list[dict[str, str]] = []
    for finding in findings:
        if finding.face in place:
            continue
        place[finding.face] = len(faces)
        row = int(inspection.rows[finding.face])
        faces.append(
            {
                "picture": picture_uri(np.asarray(crops[row])),
                **{name: str(manifest[name].iat[row]) for name in ("source", "name", "sha256")},
                "split": inspection.splits[finding.face],
            }
        )
    entries = [
        {
            "face": place[each.face],
            "task": each.task,
            "label": each.label,
            "suggested": each.suggested,
            "reasons": list(each.reasons),
            "score": each.score,
        }
        for each in findings
    ]
    tasks = {
        errors.task.name: {
            "classes": list(errors.task.classes),
            "lowest": errors.task.lowest,
            "highest": errors.task.highest,
        }
        for errors in inspection.labels
    }
    content = json.dumps([[faces[place[each.face]]["sha256"], each.task, each.label] for each in findings])
    identifier = hashlib.sha256(content.encode()).hexdigest()[:16]
    return {"id": identifier, "tasks": tasks, "faces": faces, "entries": entries}
