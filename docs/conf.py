"""How the documentation is built; see CONTRIBUTING.md for the command."""

import nonparam

project = "nonparam"
author = copyright = "The nonparam developers"
version = release = nonparam.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "gallery/*.ipynb"]
html_theme = "furo"
html_title = f"nonparam {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # gpytorch's docstrings are written for gpytorch's own pages
napoleon_numpy_docstring = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": None,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
}


def skip_metadata_requests(app, kind, name, member, skip, options):
    """Leave out scikit-learn's ``set_fit_request`` and its like: their text is for its own pages."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_metadata_requests)
