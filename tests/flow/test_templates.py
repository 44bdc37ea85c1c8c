"""Rendering: data never becomes markup, nothing hangs, nothing but our errors; and every lint finding."""

import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.control.rendering import Rendered, Source, check, render
from mta.errors import InvalidInput, Unprocessable
from mta.protocol.lint import GMAIL_CLIP, Mail, lint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "{{ a }}",
        "{{{ a }}}",
        "{{{",
        "{{ a.b }}",
        "{{ a[0] }}",
        "{{ a[b] }}",
        "{% for x in a %}",
        "{% endfor %}",
        "{% for x in (1..3) reversed %}{{ x }}{% endfor %}",
        "{% if a > b %}",
        "{% else %}",
        "{% endif %}",
        "{{ a | date: '%Y' }}",
        "{{ a | times: b }}",
        "{{ a | divided_by: 0 }}",
        "{{ a | split: b | join: a }}",
        "{{ a | sort | first }}",
        "{{ a | slice: b, 9999999999 }}",
        "{{ a | sum }}",
        "{{ a | round: b }}",
        "{% assign a = b | append: a %}",
        "{% capture c %}",
        "{% endcapture %}",
        "{{ c | replace: a, b }}",
        "{{ a | base64_decode }}",
        "{{ a | truncatewords: b }}",
        "{% cycle a, b %}",
        "{% break %}",
        "{{",
        "{%",
        "%}",
        "<style>p{color:red}",
        "</style>",
        "<p>",
        "\x00",
    ]
)


def made(html: str, data: dict[str, Any] | None = None) -> Rendered:
    return render(Source("s", html, None), data or {})


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join), st.dictionaries(st.sampled_from("abc"), JSON))
def test_no_template_and_no_data_raises_anything_but_our_errors(text: str, data: dict[str, Any]) -> None:
    source = Source(text, text, text)
    try:
        names = check(source)
    except InvalidInput as error:
        assert error.code in ("template_invalid", "content_missing") and error.field
        return
    assert all(isinstance(name, str) for name in names)
    try:
        mail = render(source, data)
    except Unprocessable as error:
        assert error.code in ("template_render_failed", "template_too_complex") and error.field
        return
    assert "\n" not in mail.subject and "\r" not in mail.subject
    (mail.subject + (mail.html or "") + (mail.text or "")).encode()


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.found.append((tag, sorted(name for name, _ in attributes)))


HOSTILE = st.lists(
    st.sampled_from(
        ["<b>", "</p>", "<script>", '"', "'", ">", "<", "&lt;", "&#60;", "onload=", "<!--", "-->", "{{ a }}", "%3Cb"]
    )
    | st.text(max_size=3)
).map("".join)


@settings(deadline=None)
@given(HOSTILE, st.sampled_from(["", "<style>p{color:red}</style>"]))
def test_data_never_becomes_markup(text: str, style: str) -> None:
    html = style + (
        '<p title="{{ a }}">{{ a }}{{ a | upcase }}{{ a | newline_to_br }}{{ a | escape_once }}{{ a | url_decode }}'
        "{% capture c %}{{ a }}{% endcapture %}{{ c }}{{ c | replace: 'x', a }}{{ c | append: a | truncate: 9 }}"
        "{{ l | join: '<i></i>' }}{% for x in l %}{{ x }}{% endfor %}{{ l }}{{ a | split: 'b' }}{{ a | strip_html }}"
        "{{ a | url_encode }}{{ a | base64_encode | base64_decode }}{{ d }}{% assign e = a %}{{ e | default: a }}</p>"
    )
    data = {"a": text, "l": [text, "x"], "d": {text: text}}
    allowed = {"p", "br", "i", "html", "head", "body"}
    found = Tags(made(html, data).html or "").found
    assert {name for name, _ in found} <= allowed
    assert [names for name, names in found if name == "p"] in ([["title"]], [["style", "title"]])


def test_missing_is_what_is_used_and_not_what_is_asked() -> None:
    html = (
        "{{ a }}{{ b.c }}{{ d[0].e }}{{ f | upcase }}{{ g | times: 2 }}{% for x in h %}{% endfor %}"
        "{{ i | default: 'q' }}{% if j %}{{ k }}{% endif %}{% if l == 'x' %}{% endif %}{{ m }}{% assign n = o %}{{ n }}"
    )
    mail = made(html, {"b": {}, "d": [], "m": None})
    assert mail.missing == ("a", "b.c", "d[0].e", "f", "g", "h", "o")
    assert mail.html == "0q"


def test_the_servers_clock_is_no_variable() -> None:
    assert made("{{ now }}{{ today }}").missing == ("now", "today")


@pytest.mark.parametrize(
    "html",
    [
        "{% for a in (1..10000) %}" + "{% if 1 == 1 %}{% endif %}" * 10_000 + "{% endfor %}",
        "{% for a in (1..10000) %}{% for b in (1..10000) %}x{% endfor %}{% endfor %}",
        "{% for a in (1..10000) %}x{% endfor %}" * 5000,
        "{% assign a = 'xxxxxxxx' %}" + "{% assign a = a | append: a %}" * 40,
        "{% assign a = 'xxxxxxxx' %}" + "{% assign a = a | append: a %}" * 15 + "{{ a | replace: 'x', a }}",
        "{% assign a = 'x' %}" + "{% assign a = a | append: a %}" * 19 + "{{ a | replace: '', a }}",
        "{% assign a = 99999 %}" + "{% assign a = a | times: a %}" * 40,
        "{% assign a = 'a,b' | split: ',' %}" + "{% assign a = a | concat: a %}" * 40,
        "{% assign a = 'x' %}" + "{% assign a = a | append: a %}" * 19 + "{{ a" + " | upcase" * 30_000 + " }}",
        "{% capture a %}x{% endcapture %}" + "{% capture a %}{{ a }}{{ a }}{% endcapture %}" * 40,
    ],
    ids=["nodes", "nested", "loops", "append", "replace", "replace empty", "times", "concat", "filters", "capture"],
)
def test_a_hostile_template_ends_soon(html: str) -> None:
    start = time.process_time()
    with pytest.raises(Unprocessable) as caught:
        made(html)
    assert caught.value.code == "template_too_complex"
    assert time.process_time() - start < 6


def test_ranges_are_small_and_written_out() -> None:
    assert made("{% for n in (1..3) %}{{ n }}{% endfor %}").html == "123"
    for text in ("{% for n in (1..a) %}{% endfor %}", "{% for n in (1..99999999) reversed %}{% endfor %}"):
        with pytest.raises(InvalidInput, match="a range needs two numbers"):
            check(Source("s", text, None))


def test_css_is_inlined_and_nothing_is_loaded(tmp_path: Path) -> None:
    sheet = tmp_path / "a.css"
    sheet.write_text("p { color: green }")
    html = f"<style>p {{ color: red }} @media print {{ p {{ color: blue }} }}</style><link rel=stylesheet href='{sheet}'><p>Hi</p>"
    out = made(html).html or ""
    assert '<p style="color: red;">Hi</p>' in out and "@media print" in out and "green" not in out
    assert made("<p>Hi</p>").html == "<p>Hi</p>"


def test_what_would_exhaust_the_inliner_is_left_alone() -> None:
    style = "<style>b{color:red}</style>"
    assert made(style + "<b>" * 100_000).html == style + "<b>" * 100_000
    many = "<style>" + "b{color:red}" * 1000 + "</style>"
    assert made(many + "<b></b>" * 1000).html == many + "<b></b>" * 1000


def test_text_is_made_where_there_is_none() -> None:
    mail = made("<p>Hi {{ a }}</p><a href='https://x.example'>Shop</a>", {"a": "<you>"})
    assert mail.text == "Hi <you>\n\nShop (https://x.example)"
    assert render(Source("s", "<p>a</p>", "own"), {}).text == "own"


GOOD = Mail("Your order", "<p>Thanks</p>", "Thanks")


def codes(
    subject: str = "Hi", html: str | None = "<p>x</p>", text: str | None = "x", stream: str = "transactional"
) -> set[str]:
    found = lint(Mail(subject, html, text, stream))
    assert all(each.message and each.advice and each.severity in ("error", "warning", "info") for each in found)
    return {each.code for each in found}


def test_a_good_mail_has_no_findings() -> None:
    assert lint(GOOD) == ()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"subject": "  "}, "subject_empty"),
        ({"subject": "x" * 79}, "subject_too_long"),
        ({"text": None}, "text_missing"),
        ({"html": "<p>" + "x" * GMAIL_CLIP}, "html_clipped"),
        ({"html": "<img src='https://a.example/b'>"}, "image_without_alt"),
        ({"html": "<img alt='' src='http://a.example/b'>"}, "image_not_https"),
        ({"html": "<a href='http://192.0.2.1/x'>x</a>"}, "link_to_ip"),
        ({"html": "<a href='http://[2001:db8::1]/x'>x</a>"}, "link_to_ip"),
        ({"text": "see http://192.0.2.1:80/x now"}, "link_to_ip"),
        ({"html": "<a href='https://evil.example/'>https://bank.example/login</a>"}, "link_text_mismatch"),
        ({"html": "<a href='https://evil.example/'><b>www.bank.example</b></a>"}, "link_text_mismatch"),
        ({"stream": "broadcast"}, "unsubscribe_missing"),
        ({"html": "<p style='position:absolute'>x"}, "css_dropped"),
        ({"html": "<p style='float: left'>x"}, "css_dropped"),
        ({"html": "<style>.a { display: flex }</style>"}, "css_dropped"),
        ({"html": "<style>.a { display: grid }</style>"}, "css_dropped"),
        ({"html": "<style>@import url(a.css)</style>"}, "css_dropped"),
        ({"html": "<link rel=stylesheet href=a.css>"}, "stylesheet_external"),
        ({"html": "<script>x</script>"}, "script_element"),
        ({"html": "<form action=x></form>"}, "form_element"),
    ],
)
def test_each_finding(given: dict[str, Any], code: str) -> None:
    assert codes(**given) == {code}


@pytest.mark.parametrize(
    "html",
    [
        "<a href='https://www.shop.example/a?b'>shop.example</a>",
        "<a href='https://shop.example/'>Read more.</a>",
        "<a href='mailto:a@shop.example'>a@shop.example</a>",
        "<p style='background-position: 0 0'>x</p>",
        "<img src='cid:logo' alt=''>",
    ],
)
def test_what_is_fine_is_not_found(html: str) -> None:
    assert codes(html=html) == set()


def test_findings_name_the_line() -> None:
    (found,) = lint(Mail("Hi", "<p>\n<p>\n<img src='https://a.example'>", "x"))
    assert (found.part, found.line) == ("html", 3)


@given(st.text(), st.text(), st.text())
def test_lint_reads_anything(subject: str, html: str, text: str) -> None:
    lint(Mail(subject, html, text, "broadcast"))
