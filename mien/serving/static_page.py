"""Mount the folder of static files that the page is made of at `/`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

#: The page of the package.
PAGE = Path(__file__).parent / "page"


def mount_page(app: FastAPI, folder: Path = PAGE) -> bool:
    """Serve the files of ``folder`` at `/`, its ``index.html`` first; return False where that is not there.

    It comes after every other route, whose paths it would hide. The headers of `mien.serving.middleware` go with
    each file: nothing but this origin can be loaded or reached.
    """
    if not (folder / "index.html").is_file():
        return False
    app.mount("/", StaticFiles(directory=folder, html=True), name="page")
    return True
