"""Configuration of Sphinx."""

import os
import sys
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wsproject.settings")
django.setup()

from websockets_app import __version__  # noqa: E402 - after django.setup(), which needs the path

project = "django-websockets-app"
author = "the django-websockets-app authors"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "model_fields"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
default_role = "code"
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "django-websockets-app"
