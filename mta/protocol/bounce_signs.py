"""Is a message without a report for machines a bounce at all? Signs are counted: its sender, its subject, its words.

One sign is not enough: anybody may write about mail, or parcels, that could not be delivered.
"""

from __future__ import annotations

import re

from mta.protocol.autoreply import is_auto_reply
from mta.protocol.bounce_text import find_reply
from mta.protocol.dsn import REPORT_TYPES
from mta.protocol.mime_parts import Part

ENOUGH = 3  # where the sender is a daemon or null
ENOUGH_FROM_ANYBODY = 5


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_DAEMON = _any(
    r"mailer[-_. ]?daemon",
    r"mail ?daemon",
    r"mdaemon",
    r"post[-_. ]?master",
    r"mail[-_. ]?deliver",
    r"delivery (?:sub)?system",
    r"mail(?:er)? system",
    r"system administrator",
    r"mail[-_. ]administrator",
    r"interscan",
    r"bounce",
)
_SUBJECT = _any(
    r"undeliver",
    r"return(?:ed|ing) (?:mail|message)? ?(?:to )?(?:the )?sender",
    r"returned? mail",
    r"non[- ]?deliver",
    r"nondeliverable",
    r"delivery (?:status )?(?:notification|failure|error|report|problem|warning|attempt|has failed|failed|delay)",
    r"fail(?:ure|ed) (?:notice|delivery|mail|to deliver)",
    r"mail(?:er)? (?:delivery )?(?:fail|error|system error)",
    r"could not (?:be )?deliver",
    r"message (?:delivery )?(?:status|failed|delayed)",
    r"mail status report",
    r"rejected",
    r"delayed mail",
    r"warning: (?:could not send|message)",
    r"bounced? (?:mail|message)",
    r"loop alert",
    r"user unknown",
    r"unzustellbar",
    r"notification d.[ée]tat",
    r"avis de non",
    r"no entregad",
    r"automatisch bericht: niet",
    r"не доставлено",
    r"エラーメール",
    r"配信(?:でき|不能|エラー|失敗)",
    r"送信(?:でき|エラー)",
    r"退信",
    r"메일 ?(?:전송|배달) ?실패",
)
_WORDS = _any(
    r"(?:could|can)(?: ?not|n't) (?:be |yet be )?(?:deliver|sent|reach)",
    r"undeliverable",
    r"unable to (?:be )?deliver",
    r"(?:wasn't|was not|not be|not been|isn't|not) (?:able to )?(?:be )?deliver",
    r"permanent (?:fatal )?error",
    r"failed permanently",
    r"delivery (?:to the following|of (?:your|the|this) (?:message|mail|e-?mail)).{0,60}(?:fail|delay|abort|could)",
    r"(?:did not|didn't) (?:reach|like|accept)",
    r"delivery (?:has )?(?:failed|failure|errors?|problems)",
    r"delivery to .{0,80} failed",
    r"had (?:delivery|permanent|transient|fatal)",
    r"following address(?:es)?\W{0,6}\w* ?(?:failed|had|were)",
    r"failed to deliver",
    r"returned (?:to you|mail)",
    r"could not deliver",
    r"failed recipients?\b",
    r"non-?delivery report",
    r"no such user here",
    r"intended recipient",
    r"has been returned because",
    r"automatically rejected",
    r"postponed due",
    r"failure reasons?",
    r"rejected by",
    r"was rejected",
    r"non-?delivered",
    r"error (?:has )?occurred",
    r"incorrectly constructed",
    r"transcript of (?:the )?session",
    r"unknown user",
    r"user unknown",
    r"invalid (?:final|recipient)",
    r"following reason",
    r"problem delivering",
    r"bounced",
    r"remote host said",
    r"duplicated message-id",
    r"送信できません",
    r"(?:配信|配達)できません",
    r"не может быть доставлено",
    r"konnte nicht",
    r"n'a pas pu",
    r"no se pudo",
    r"non è stato",
    r"non (?:recapitabile|consegnat)",
    r"não (?:pôde|foi)",
    r"無法",
    r"无法",
)
_DELAY = _any(
    r"warning (?:message )?only",
    r"need not resend",
    r"not need to resend",
    r"still (?:being retried|trying)",
    r"has been delayed",
    r"will (?:be retried|keep trying|continue to (?:try|retry)|try again)",
    r"delivery .{0,20}delayed",
    r"be retried (?:for|until)",
    r"temporary failure",
)

_CONVERSATION = re.compile(r"\s*(?:re|aw|sv|antw|fwd?|wg|tr|rv|enc)\s*:", re.IGNORECASE)  # a person answers or forwards


def is_bounce(root: Part, text: str, returns: bool) -> bool:
    """Whether `text`, the words of `root`, report a failure. `returns`: it brings another message back."""
    if root.header("x-failed-recipients") or any(part.content_type in REPORT_TYPES for part in root.walk()):
        return True
    daemon = from_daemon(root)
    if not daemon and (is_auto_reply(root) or _CONVERSATION.match(root.header("subject"))):
        return False
    path = root.header("return-path").strip().lower()
    null_path = path == "<>" or "mailer-daemon" in path
    signs = 2 * daemon + null_path + returns + bool(find_reply(text))
    signs += 2 * bool(_SUBJECT.search(root.header("subject")[:500])) + 2 * bool(_WORDS.search(text))
    return signs >= (ENOUGH if daemon or null_path else ENOUGH_FROM_ANYBODY)


def from_daemon(root: Part) -> bool:
    """The author is a mail system, or nobody."""
    author = root.header("from").strip()
    return author in ("", "<>") or bool(_DAEMON.search(author[:500]))


def is_delay(text: str) -> bool:
    """The words of a bounce say that the message is still being tried."""
    return bool(_DELAY.search(text))
