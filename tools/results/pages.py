"""The pages that this package writes, and how: a template of `templates/` and what fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from tools.results import (
    crop_frame,
    detection,
    finetune,
    grayscale48,
    inspection,
    ordinal_uncertainty,
    scale,
    serving,
    video,
)
from tools.results.models import model_context, readme_context
from tools.results.tables import REPOSITORY, RESULTS, history_table

BEGIN = "<!-- figures: written by python -m tools.results readme, from docs/results/default -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page. ``context`` gives what its template needs, by name."""

    path: Path
    template: str
    context: Callable[[], Mapping[str, Any]]


def _results(name: str, context: Callable[[], Mapping[str, Any]]) -> Page:
    return Page(path=RESULTS / name / "README.md", template=f"{name}.md.j2", context=context)


PAGES: Mapping[str, Page] = {
    "readme": Page(path=REPOSITORY / "README.md", template="readme.md.j2", context=readme_context),
    "default": _results("default", partial(model_context, "default", "utkface")),
    "small": _results("small", partial(model_context, "small", "utkface")),
    "large": _results("large", partial(model_context, "large", "utkface")),
    "open": _results("open", partial(model_context, "open", "fairface")),
    "first-model": _results("first-model", partial(model_context, "first-model", "")),
    "grayscale48": _results("grayscale48", grayscale48.context),
    "crop-frame": _results("crop-frame", crop_frame.context),
    "detection": _results("detection", detection.context),
    "finetune": _results("finetune", finetune.context),
    "scale": _results("scale", scale.context),
    "inspection": _results("inspection", inspection.context),
    "serving": _results("serving", serving.context),
    "ordinal-uncertainty": _results("ordinal-uncertainty", ordinal_uncertainty.context),
    "video": _results("video", video.context),
}


def page_text(name: str) -> str:
    """Return the text of a page as the result files give it; of README its present text with new figures."""
    page = PAGES[name]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    history = lambda file: history_table(page.path.parent / file)  # noqa: E731
    text = environment.get_template(page.template).render(page.context(), history=history)
    if name != "readme":
        return text
    before, _, rest = page.path.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}"
