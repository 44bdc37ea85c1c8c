"""Mail that a program answered with for a person: vacation notes and the like (RFC 3834). Never a bounce."""

from __future__ import annotations

import re

from mta.protocol.mime_parts import Part

_SUBJECT = re.compile(
    r"^\s*(?:(?:re|aw|sv|antw)\s*:\s*)?(?:"
    r"auto(?:matic|mated|matisch\w*|mática|matique|matisk\w*|matyczna)?[ :_-]*(?:re(?:ply|sponse|sponder|spuesta)|antwort|svar|odpowied)"
    r"|out[ -]of[ -](?:the[ -])?office|\W{0,3}ooo\b|away (?:from|until|till)|on (?:vacation|holiday|leave)\b|vacation (?:reply|notice|message)"
    r"|abwesen|nicht im (?:b[uü]ro|hause)|r[ée]ponse automatique|absence du bureau|respuesta autom|fuera de (?:la )?oficina"
    r"|resposta autom|risposta automatica|fuori (?:sede|ufficio)|automatisch antwoord|afwezig|autosvar|fr[åa]nvaro|poissa"
    r"|автоответ|自動(?:応答|返信)|不在|自动(?:回复|答复)|자동 ?(?:회신|응답|답장)"
    r")",
    re.IGNORECASE,
)
_ANSWER_FIELDS = ("x-autoreply", "x-autorespond", "x-autoresponse", "x-auto-reply-from", "x-mail-autoreply", "x-amazon-auto-reply")
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
