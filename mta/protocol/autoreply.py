"""Mail that a program answered with for a person: vacation notes and the like (RFC 3834). Never a bounce."""

from __future__ import annotations

import re

from mta.protocol.mime_parts import Part

_SUBJECT = re.compile(
    r"^\s*(?:(?:re|aw|sv|antw)\s*:\s*)?(?:"
    + "|".join(
        (
            r"auto(?:matic|mated|matisch\w*|mática|matique|matisk\w*|matyczna)?[ :_-]*re(?:ply|sponse|sponder|spuesta)",
            r"auto(?:matisch\w*|matisk\w*|matyczna)?[ :_-]*(?:antwo|svar|odpowied)",
            r"out[ -]of[ -](?:the[ -])?office",
            r"\W{0,3}ooo\b",
            r"away (?:from|until|till)",
            r"on (?:vacation|holiday|leave)\b",
            r"vacation (?:reply|notice|message)",
            r"abwesen",
            r"nicht im (?:b[uü]ro|hause)",
            r"r[ée]ponse automatique",
            r"absence du bureau",
            r"respuesta autom",
            r"fuera de (?:la )?oficina",
            r"resposta autom",
            r"risposta automatica",
            r"fuori (?:sede|ufficio)",
            r"afwezig",
            r"autosvar",
            r"fr[åa]nvaro",
            r"poissa",
            r"автоответ",
            r"自動(?:応答|返信)",
            r"不在",
            r"自动(?:回复|答复)",
            r"자동 ?(?:회신|응답|답장)",
        )
    )
    + ")",
    re.IGNORECASE,
)
_ANSWER_FIELDS = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponse",
    "x-auto-reply-from",
    "x-mail-autoreply",
    "x-amazon-auto-reply",
)
_PRECEDENCE = ("auto_reply", "auto-reply")


def is_auto_reply(message: Part) -> bool:
    """Whether the fields of a message (which is no report) say that no person sent it in answer to ours."""
    submitted = message.header("auto-submitted").split(";")[0].strip().lower()
    if submitted.startswith("auto-replied"):  # RFC 3834 §5; auto-generated is any robot's mail, no answer
        return True
    if any(message.header(name).strip().lower() not in ("", "no") for name in _ANSWER_FIELDS):
        return True
    if message.header("precedence").strip().lower() in _PRECEDENCE:
        return True
    return bool(_SUBJECT.search(message.header("subject")[:300]))
