"""One self-contained HTML page: figures as embedded SVG pictures, tables, no script and nothing to load."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from typing import NamedTuple

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1.2em; color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.15em; margin-top: 2em; }
.seen, .found { max-width: 85ch; margin: 0.5em 0; } figure { margin: 0; } img { width: 100%; height: auto; }
figcaption, .head { color: #555; max-width: 85ch; } figcaption, nav { font-size: 13px; } pre { font-size: 12.5px; }
nav ul { columns: 3 20em; padding-left: 1.2em; } .head { margin: 0.3em 0; }
.scroll { overflow-x: auto; max-height: 32em; } table { border-collapse: collapse; font-size: 12.5px; }
th, td { padding: 2px 9px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { position: sticky; top: 0; background: #fff; } td:last-child, th:last-child { text-align: left; }
.words td, .words th { text-align: left; vertical-align: top; } .words td { white-space: normal; }
:target { background: #fff3c4; } .ids { font-size: 12px; }
@media print {
  body { font-size: 10.5px; max-width: none; margin: 0; padding: 0; } a { color: inherit; text-decoration: none; }
  .scroll { max-height: none; overflow: visible; } table { font-size: 8px; } th { position: static; }
  td, th { white-space: normal; padding: 1px 4px; } td:last-child, .ids, pre { overflow-wrap: anywhere; }
  figcaption, nav, .ids, pre { font-size: 8.5px; } pre { white-space: pre-wrap; }
  figure, tr, li { break-inside: avoid; } h2 { break-after: avoid; }
}
"""


class Section(NamedTuple):
    """One figure of the page."""

    title: str
    said: list[str]
    """Paragraphs: what is seen, then how it is drawn."""
    svg: bytes


class Table(NamedTuple):
    """One table of the page, or other HTML that may be long."""

    title: str
    html: str
    said: str = ""
    """A paragraph of plain text above it."""


def page(
    title: str,
    found: Sequence[str],
    head: Sequence[str],
    sections: Sequence[Section],
    tables: Sequence[Table],
    source: str,
    first: Sequence[Table] = (),
) -> str:
    """The page as HTML.

    Args:
        title: plain text.
        found: what came out, a line of plain text each, under the title.
        head: lines of plain text on what it is of.
        sections: the figures.
        tables: after the figures.
        source: the study's file, shown at the end.
        first: tables before the figures.
    """
    titles = [*(table.title for table in first), *(section.title for section in sections)]
    titles += [*(table.title for table in tables), SOURCE]
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        '<ul class="found">',
        *(f"<li>{html.escape(line)}</li>" for line in found),
        "</ul>",
        *(f'<p class="head">{html.escape(line)}</p>' for line in head),
        '<nav aria-label="Contents"><ul>',
        *(f'<li><a href="#{anchor(name)}">{html.escape(name)}</a></li>' for name in titles),
        "</ul></nav>",
    ]
    parts += [_table(table) for table in first]
    for section in sections:
        picture = base64.b64encode(section.svg).decode()
        *seen, drawn = (html.escape(line) for line in section.said)
        alt = f"{html.escape(section.title)}. {' '.join(seen)}"
        parts += [
            _heading(section.title),
            *(f'<p class="seen">{line}</p>' for line in seen),
            f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{picture}">',
            f"<figcaption>{drawn}</figcaption></figure>",
        ]
    parts += [_table(table) for table in tables]
    parts.append(f"{_heading(SOURCE)}<pre>{html.escape(source)}</pre>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


SOURCE = "The study's file"


def anchor(title: str) -> str:
    """The id of a title's heading, for links within the page."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _heading(title: str) -> str:
    return f'<h2 id="{anchor(title)}">{html.escape(title)}</h2>'


def _table(table: Table) -> str:
    said = f'<p class="seen">{html.escape(table.said)}</p>' if table.said else ""
    return f'{_heading(table.title)}{said}<div class="scroll">{table.html}</div>'
