"""HTML and SVG written so that text is always escaped: only `element` makes markup."""

import html
import json
from collections.abc import Sequence
from typing import Any

VOID = frozenset({"br", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`, well-formed as XML too.

    Children that are not Markup are text, and escaped. Attributes: `class_` is class, other underscores are hyphens,
    None is left out.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    opened = "".join([tag, *(f' {name}="{html.escape(_plain(value))}"' for name, value in named.items())])
    if tag in VOID:
        return Markup(f"<{opened}/>")
    return Markup(f"<{opened}>{join(children)}</{tag}>")


def join(parts: Sequence[str]) -> Markup:
    """The parts one after the other; text among them is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def data_script(name: str, content: Any) -> Markup:
    """JSON that a script of the page reads by the element's id; nothing in it can end the element."""
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def _plain(value: str | float) -> str:
    """Coordinates with two decimals at most; 12 is 12."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
