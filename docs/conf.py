"""Configuration of Sphinx."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from websockets_app import __version__

project = "django-websockets-app"
author = "the django-websockets-app authors"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
default_role = "code"
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "django-websockets-app"
