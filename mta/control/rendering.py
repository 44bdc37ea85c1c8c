"""Templates to subject, HTML and text, with python-liquid; called in a thread by `control.templates`.

Whoever may write templates may not hang or fill this process, so what liquid leaves open is bounded here: no includes,
a whitelist of filters whose values stay small, loops, output, nesting and CPU time. Data is escaped in HTML, always:
there is no filter that marks it safe, and `{{{ name }}}`, as Resend's templates have it, is `{{ name }}`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from html import escape
from typing import Any, Final

import css_inline
from liquid import Environment, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.exceptions import LiquidError, ResourceLimitError
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.undefined import Undefined
from liquid.utils import ReadOnlyChainMap

from mta.errors import InvalidInput, Unprocessable
from mta.protocol.html import content_start, depth, to_text

MAX_SOURCE: Final = 500_000  # characters of a part of a template
MAX_SUBJECT: Final = 2000
MAX_OUTPUT: Final = 1_000_000  # bytes of a rendered part, and characters of any value on the way
MAX_ITEMS: Final = 10_000  # of a list, and turns of all loops that are nested in each other
MAX_DIGITS: Final = 100
MAX_CPU_S: Final = 1.0  # for one part
MAX_DEPTH: Final = 256  # nested elements of HTML whose CSS is inlined: deeper ones exhaust the inliner's stack
MAX_MATCHES: Final = 500_000  # CSS rules times elements: 10 ms; above it the CSS stays where it is

_TAGS: Final = (  # noqa: SIM905
    "if unless case for break continue assign capture cycle increment decrement echo comment # liquid "
    "content output illegal"
).split()
_FILTERS: Final = (  # noqa: SIM905
    "abs append at_least at_most base64_decode base64_encode capitalize ceil compact concat date default divided_by downcase "
    "escape escape_once first floor join last lstrip map minus modulo newline_to_br plus prepend remove remove_first replace "
    "replace_first reverse round rstrip size slice sort sort_natural split strip strip_html strip_newlines sum times truncate "
    "truncatewords upcase url_decode url_encode where"
).split()
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_HIDDEN = "display:none;max-height:0;overflow:hidden;mso-hide:all"
_RULE = re.compile(r"\{[^{}]*:")
_TRIPLE = re.compile(r"\{\{\{([^{}]*)\}\}\}")


@dataclass(frozen=True, slots=True)
class Source:
    """What a version says, with `{{ variables }}`; a `preheader` is shown beside the subject in a list of mail."""

    subject: str
    html: str | None
    text: str | None
    preheader: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Mail made of a template. `missing` are the variables that the data lacks, as `user.name`, in order of use."""

    subject: str
    html: str | None
    text: str | None
    missing: tuple[str, ...] = ()


class _Missing(Undefined):
    """A variable that the data lacks. Using its value is noted; asking whether it is there, or a default, is not."""

    __slots__ = ("noted",)
    force_liquid_default = True
    noted: dict[str, None]

    def note(self) -> None:
        self.noted[self.name] = None

    def __str__(self) -> str:
        self.note()
        return ""

    def __len__(self) -> int:
        self.note()
        return 0

    def __iter__(self) -> Iterator[Any]:
        self.note()
        return iter(())

    def __bool__(self) -> bool:
        return False


class _Context(RenderContext):
    """Knows what is missing, and looks at the clock at every node and filter."""

    def __init__(self, template: BoundTemplate, **more: Any) -> None:
        super().__init__(template, **more)
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)  # without liquid's `now` and `today`
        self.missing: dict[str, None] = {}
        self.until = time.thread_time() + MAX_CPU_S

    @property
    def disabled_tags(self) -> list[str]:  # liquid asks for it at every node
        self.check_time()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        """There are none: includes do not exist."""

    def check_time(self) -> None:
        if time.thread_time() > self.until:
            raise ResourceLimitError(f"it takes more than {MAX_CPU_S:.0f} s", token=None)

    def get(self, path: list[object], **more: Any) -> object:
        found = super().get(path, **more)
        if isinstance(found, Undefined) and not isinstance(found, _Missing):
            missing = _Missing(_dotted(path), token=more.get("token"))
            missing.noted = self.missing
            return missing
        return found

    def filter(self, name: str, token: Any = None) -> Callable[..., object]:
        self.check_time()
        return super().filter(name, token)


class _Template(BoundTemplate):
    context_class = _Context


class _Environment(Environment):
    template_class = _Template
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = MAX_ITEMS
    local_namespace_limit = 5 * MAX_OUTPUT
    output_stream_limit = MAX_OUTPUT

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=False)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {name: _bounded(name, self.filters[name]) for name in _FILTERS}


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, for values of bounded size that make one of bounded size."""

    @wraps(function)
    def call(value: object, *arguments: Any, **named: Any) -> Any:
        for given in (value, *arguments):
            _check_size(given)
            if isinstance(given, _Missing) and name not in ("default", "size"):
                given.note()
        _check_growth(name, value, arguments)
        result = function(value, *arguments, **named)
        _check_size(result)
        return result

    return call


def _check_size(value: object) -> None:
    too_large = (
        (isinstance(value, str) and len(value) > MAX_OUTPUT)
        or (isinstance(value, list | tuple | dict | range) and len(value) > MAX_ITEMS)
        or (isinstance(value, int) and value.bit_length() > 3.33 * MAX_DIGITS)
    )
    if too_large:
        raise ResourceLimitError(f"a {type(value).__name__} is too large", token=None)


def _check_growth(name: str, value: object, arguments: Sequence[Any]) -> None:
    """Before filters whose result may be as large as two values multiplied."""
    if not arguments:
        return
    size = 0
    if name == "join":
        size = len(str(arguments[0])) * (len(value) if isinstance(value, list | tuple | range) else 1)
    elif name == "replace":
        size = max(1, len(str(value))) * len(str(arguments[1])) if len(arguments) > 1 else 0
        if size > MAX_OUTPUT and str(arguments[0]):
            size = str(value).count(str(arguments[0])) * len(str(arguments[1]))
    elif name == "date" and len(str(value)) + len(str(arguments[0])) > 200:
        size = MAX_OUTPUT + 1  # its parser is slow, its directives may ask for wide fields
    if size > MAX_OUTPUT:
        raise ResourceLimitError(f"what {name} would make is too large", token=None)


_PLAIN: Final = _Environment()
_HTML: Final = _Environment(autoescape=True)
_INLINER: Final = css_inline.CSSInliner(load_remote_stylesheets=False, keep_at_rules=True, keep_link_tags=True)


def check(source: Source) -> tuple[str, ...]:
    """The variables that a source takes from its data, in order. Raises InvalidInput (`template_invalid`)."""
    if source.html is None and source.text is None:
        raise InvalidInput("A template needs html or text.", code="content_missing", field="html")
    found: dict[str, None] = {}
    for part, text in _parts(source):
        if len(text) > (limit := MAX_SOURCE if part in ("html", "text") else MAX_SUBJECT):
            raise InvalidInput(f"The {part} has {len(text)} characters; at most {limit} are taken.", field=part)
        found.update(dict.fromkeys(_compiled(part, text)[1]))
    return tuple(found)


def render(source: Source, data: Mapping[str, Any]) -> Rendered:
    """The mail; what is missing is empty and named. A source without text gets one from its HTML, and with an empty one
    beside its HTML none.

    Raises InvalidInput (`template_invalid`), or Unprocessable (`template_too_complex`) where it does not end or grows
    beyond the limits.
    """
    missing: dict[str, None] = {}
    made = {part: _render(part, text, data, missing) for part, text in _parts(source)}
    html, text = made.get("html"), made.get("text")
    if html is not None and not source.text:
        text = to_text(html) if source.text is None else None
    subject = _CONTROL.sub(" ", made["subject"]).strip()
    if html is not None:
        html = _inlined(html)
        if preheader := _CONTROL.sub(" ", made.get("preheader", "")).strip():
            html = _with_preheader(html, preheader)
    return Rendered(subject, html, text, tuple(missing))


def _with_preheader(html: str, preheader: str) -> str:
    """Hidden where the mail is read, and its first words: mailboxes show those beside the subject."""
    at = content_start(html)
    return f'{html[:at]}<div style="{_HIDDEN}">{escape(preheader)}</div>{html[at:]}'


def _parts(source: Source) -> list[tuple[str, str]]:
    parts = (("subject", source.subject), ("html", source.html), ("text", source.text))
    given = [(name, text) for name, text in parts if text is not None]
    return [*given, ("preheader", source.preheader)] if source.preheader else given


def _render(part: str, text: str, data: Mapping[str, Any], missing: dict[str, None]) -> str:
    template, _ = _compiled(part, text)
    context = _Context(template, globals=data)
    context.missing = missing
    buffer = context.get_buffer()
    try:
        template.render_with_context(context, buffer)
    except (ResourceLimitError, RecursionError, MemoryError) as error:
        raise Unprocessable(
            f"The {part} cannot be rendered within the limits: {_sentence(error)}.",
            code="template_too_complex",
            field=part,
        ) from error
    except Exception as error:  # liquid's own, and whatever odd values make filters raise
        raise Unprocessable(
            f"The {part} cannot be rendered with this data: {_sentence(error)}.",
            code="template_render_failed",
            field=part,
        ) from error
    return buffer.getvalue().encode("utf-8", "replace").decode()


@lru_cache(maxsize=256)
def _compiled(part: str, text: str) -> tuple[BoundTemplate, tuple[str, ...]]:
    try:
        template = (_HTML if part == "html" else _PLAIN).from_string(_TRIPLE.sub(r"{{\1}}", text))
        _check_ranges(template.nodes, template)
        analysis = template.analyze()
        _check_filters(analysis.filters, template.env)
        names = [str(variable) for found in analysis.globals.values() for variable in found]
    except Exception as error:  # liquid's own, and whatever odd text makes its parser raise
        raise InvalidInput(
            f"The {part} of the template cannot be read: {_sentence(error)}.", code="template_invalid", field=part
        ) from error
    return template, tuple(dict.fromkeys(names))


def _check_filters(used: Iterable[str], environment: Environment) -> None:
    if unknown := sorted(set(used) - set(environment.filters)):
        raise LiquidError(f"there is no filter {unknown[0]}; there are {', '.join(_FILTERS)}", token=None)


def _check_ranges(nodes: Sequence[Node], template: BoundTemplate) -> None:
    """A range is made whole before any limit sees it, so its ends must be written out."""
    context = RenderContext(template)
    for node in nodes:
        for expression in node.expressions():
            _check_range(expression)
        _check_ranges(list(node.children(context)), template)


def _check_range(expression: Expression) -> None:
    if isinstance(expression, RangeLiteral):
        ends = (expression.start, expression.stop)
        if not all(isinstance(end, IntegerLiteral) and abs(end.value) <= MAX_ITEMS for end in ends):
            raise LiquidError(f"a range needs two numbers up to {MAX_ITEMS}, like (1..5)", token=None)
    for child in expression.children():
        _check_range(child)


def _inlined(html: str) -> str:
    """Rules of style elements as style attributes, for clients that drop the former; media queries stay."""
    lower = html.lower()
    if "<style" not in lower or depth(html) > MAX_DEPTH:
        return html
    if len(_RULE.findall(html)) * html.count("<") > MAX_MATCHES:
        return html
    try:
        return str(_INLINER.inline(html))
    except ValueError:  # CSS that it cannot read stays as it is
        return html


def _dotted(path: Sequence[object]) -> str:
    text = ""
    for segment in path:
        text += f".{segment}" if isinstance(segment, str) else f"[{segment}]"
    return text.removeprefix(".")[:200]


def _sentence(error: Exception) -> str:
    """Liquid's own words, and the line where it has one."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    token = getattr(error, "token", None)
    line = f" (line {token.source.count(chr(10), 0, token.start_index) + 1})" if token is not None else ""
    return f"{str(text)[:600].rstrip('.')}{line}"
