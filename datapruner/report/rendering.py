"""A page from its template: one file, with the style inside, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..files import whole_file
from . import formats

_HERE = Path(__file__).parent


def render(path: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Fill a template of this folder, and write the page.

    Args:
        path: where the page goes.
        template: a child of base.html.
        values: by name, what it shows; the style and `formats` are there already.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((_HERE / "style.css").read_text(encoding="utf-8"))
    page = environment.get_template(template).render(values, style=style, formats=formats)
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path
