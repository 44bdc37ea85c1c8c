"""HTML read flat: linear, never raising, and the text that stands for it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.protocol.html import Tag, Text, content_start, depth, to_text, tokens

MARKUP = st.lists(
    st.sampled_from(
        ["<", ">", "</", "<!--", "-->", "<a href='", '"', "'", "=", "b", " ", "/", "&lt;", "<script", "<p>", "İ"]
    )
).map("".join)


def test_tags_attributes_and_texts() -> None:
    found = list(tokens('<P Class=x id="a&amp;b" hidden>1 &lt; 2</p><!-- <b> --><br/>'))
    assert found == [
        Tag("p", 0, False, {"class": "x", "id": "a&b", "hidden": ""}),
        Text("1 < 2", 31),
        Tag("p", 39, True, {}),
        Tag("br", 55, False, {}),
    ]


def test_what_is_raw_has_no_tags() -> None:
    found = list(tokens("<style>a > b {}</STYLE><title>&amp;</title>"))
    assert [token.text for token in found if isinstance(token, Text)] == ["a > b {}", "&"]
    assert [token.inside for token in found if isinstance(token, Text)] == ["style", "title"]


@pytest.mark.parametrize(
    ("html", "before"),
    [
        ("Hello", ""),
        (" <p>Hello", " "),
        (
            '<!doctype html><html><head><title>T</title></head><body class="a>b"><p>Hi',
            '<!doctype html><html><head><title>T</title></head><body class="a>b">',
        ),
        ("<body><!--[if mso]><table><![endif]-->Hi", "<body>"),
        ("<head><style>p { }</style></head>\n<p>Hi", "<head><style>p { }</style></head>\n"),
        ("<!doctype html>", "<!doctype html>"),
    ],
)
def test_where_content_starts(html: str, before: str) -> None:
    assert html[: content_start(html)] == before


@given(st.text() | MARKUP)
def test_nothing_is_shown_before_content_starts(html: str) -> None:
    assert to_text(html[: content_start(html)]).strip() == ""


@given(st.text() | MARKUP)
def test_any_input_is_read(html: str) -> None:
    assert "".join(html[token.at] for token in tokens(html) if isinstance(token, Tag)).strip("<") == ""
    assert isinstance(to_text(html), str) and depth(html) >= 0


@pytest.mark.parametrize(
    "unit", ["<!--", "<!", "<![", "</", "<a ", '<a "', "<a b=", "<p<", "&", "<div>", "<a href=x>", "<script>"]
)
def test_time_grows_with_the_size_only(unit: str) -> None:
    html = unit * (400_000 // len(unit))
    start = time.process_time()
    to_text(html)
    depth(html)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two<br>lines</p>", "One\n\nTwo\nlines"),
        ("<style>p{}</style><h1>Hi  \n there</h1>", "Hi there"),
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ('<a href="https://x.example/?a=1&amp;b=2">Shop</a>.', "Shop (https://x.example/?a=1&b=2)."),
        ('<a href="https://x.example/">https://x.example/</a>', "https://x.example/"),
        ('<a href="mailto:a@b.example">a@b.example</a>', "a@b.example"),
        ('<a href="https://x.example/"><img src=a alt="Logo"></a>', "Logo (https://x.example/)"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("a&nbsp;b &lt;c&gt;", "a b <c>"),
        ("", ""),
    ],
)
def test_text_of(html: str, text: str) -> None:
    assert to_text(html) == text


def test_depth_counts_what_stays_open() -> None:
    assert depth("<div><b>x</b><br><p>y</div>") == 2
    assert depth("<p>" * 50) == 0 and depth("<div>" * 50) == 50
