"""Pages for people: plain HTML without scripts, every value escaped."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:17px/1.5 system-ui,sans-serif;margin:4rem auto;max-width:32rem;padding:0 1rem;color:#222}"
    "button{font:inherit;padding:.5rem 1.2rem;border:0;border-radius:.4rem;background:#1a56db;color:#fff;cursor:pointer}"
)


class Page(HTMLResponse):
    """An answer that a person reads in a browser."""


def page(title: str, *paragraphs: str, button: str | None = None, status: int = 200) -> Page:
    """`button` is the label of a form that posts to the page's own address. All are texts, not HTML."""
    content = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    form = f'<form method="post"><button type="submit">{escape(button)}</button></form>' if button else ""
    return Page(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">'
        '<meta name="viewport" content="width=device-width"><title>'
        f"{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{content}{form}</body></html>",
        status,
    )
