"""Configuration of the site: `make docs` builds it in build/docs."""

import logging
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_gallery import backreferences

import virolbi

sys.path.insert(0, str(Path(__file__).parent))

from generated import write_api, write_commands

project = "virolbi"
author = "The virolbi developers"
copyright = author
release = version = virolbi.__version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples", "templates"]
templates_path = ["templates"]
smartquotes = False  # options of commands keep their two hyphens
html_theme = "pydata_sphinx_theme"
html_title = "virolbi"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": [], "developing": [], "changelog": []}
html_show_sourcelink = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "download_all_examples": False,
    "image_srcset": ["2x"],
    "min_reported_time": 1,
    "write_computation_times": False,
}

# A first call logs that it compiles, which is not part of what an example prints.
logging.getLogger("virolbi").setLevel(logging.ERROR)

# sphinx-gallery has no setting for the alternative text of thumbnails, which it leaves empty.
backreferences.THUMBNAIL_TEMPLATE = backreferences.THUMBNAIL_TEMPLATE.replace(
    ":alt:", ":alt: {title}"
)

linkcheck_timeout = 20


def setup(app: Sphinx) -> None:
    """Write the pages that are made from the package before Sphinx reads them.

    Parameters
    ----------
    app : Sphinx
        The application.
    """
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    write_commands(folder / "commands.md")
    write_api(folder)
