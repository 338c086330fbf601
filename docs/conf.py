"""The documentation site: `make docs` builds it without a network, and every warning is an error.

Sphinx rather than MkDocs: the docstrings are numpydoc's, which Sphinx reads as they are; the pages work from a folder
without a server, the search included; and click's commands and notebooks have extensions that are kept.
"""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

project = "koclip-consistency"
copyright = "the authors of koclip-consistency"
html_title = project
language = "en"

extensions = [
    "myst_nb",
    "numpydoc",
    "run_directive",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
smartquotes = False  # --help is no dash
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks show the output that they are kept with; a test runs them
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = False
autodoc_typehints = "none"  # the docstrings say more
autodoc_default_options = {"exclude-members": "set_fit_request,set_score_request"}  # scikit-learn makes these
copybutton_selector = "div:not(.output) > div.highlight > pre"

html_theme = "pydata_sphinx_theme"
html_theme_options: dict[str, Any] = {
    "show_prev_next": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "article_header_start": ["breadcrumbs"],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "start": [], "ko": []}
html_context = {"default_mode": "auto"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

# Files of the repository outside docs/ that a page of the site includes: links to them lead to that page.
PAGES_OF = {
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "security.md",
    "../benchmarks/RESULTS.md": "results.md",
    "../benchmarks/FAULTS.md": "faults.md",
}


def lead_to_pages(app: Any, name: str, source: list[str]) -> None:
    """Replace the targets of links to files that have a page."""
    for target, page in PAGES_OF.items():
        source[0] = source[0].replace(f"]({target}", f"]({page}")


def setup(app: Any) -> None:
    app.connect("source-read", lead_to_pages)
