"""Fields of configurations on the documentation site. mkdocs.yml names this file.

The string under a field is its help on the command line, plain text. In Markdown, flags become
code, and brackets stay brackets instead of becoming links. Of what makes a field its default stays.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, ExprCall, Extension

# A flag, or an upper-case word with optional parts.
_CODE = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*|[A-Z_]+(?:\[[^\s;]+\])+)")
# Their first argument is the default: `hires.config.run`, `hires.config.checks`.
_MAKERS = ("option", "bounded")


class Fields(Extension):
    """Marks up help texts and shows defaults."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """When an attribute is met, before signatures are made of it."""
        if attr.docstring is not None:
            attr.docstring.value = _CODE.sub(r"`\1`", attr.docstring.value)
        if isinstance(attr.value, ExprCall) and str(attr.value.function) in _MAKERS:
            attr.value = attr.value.arguments[0]
