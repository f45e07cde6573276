"""Sphinx: the documentation site. Build it with `make docs`."""

from mien import __version__

project = "mien"
copyright = "the mien authors, Apache-2.0"
version = release = __version__

# myst_nb reads Markdown as myst_parser does, and notebooks.
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # their outputs are stored in them: python -m tools.notebooks
suppress_warnings = ["myst.header"]  # the pages of what was tried begin below the level of a title

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

html_theme = "furo"
html_title = f"mien {release}"
