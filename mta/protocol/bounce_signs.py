"""Is a message without a report for machines a bounce at all? Its sender, its subject and its words are signs.

No word is enough: anybody may write about mail, or parcels, that could not be delivered, and mail systems also write of
quotas and quarantines. So a daemon must say in the subject that mail failed, or bring the message back, or quote a
refusal; others must bring more.
"""

from __future__ import annotations

import re

from mta.protocol.autoreply import is_auto_reply
from mta.protocol.bounce_text import find_reply, lists_recipients
from mta.protocol.dsn import REPORT_TYPES
from mta.protocol.mime_parts import Part


def _any(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_DAEMON = _any(
    r"mailer[-_. ]?daemon",
    r"mail ?daemon",
    r"mdaemon",
    r"post[-_. ]?master",
    r"mail[-_. ]?delivery[-_. ]?(?:sub-?system|system|service|agent|software|status)",
    r"delivery (?:sub)?system",
    r"mail(?:er)? system",
    r"system administrator",
    r"mail[-_. ]administrator",
    r"interscan",
    r"\bbounces?@",
)
_ROBOT = _any(r"mailer[-_. ]?daemon@", r"mdaemon@")  # writes of nothing but delivery; a postmaster may be a person
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
    r"(?:mail|message) (?:was |has been )?rejected",
    r"^\W*(?:automatically )?rejected (?:mail|message)",
    r"\[bounce\]",
    r"delayed mail",
    r"warning: (?:could not send|message)",
    r"bounced? (?:mail|message)",
    r"loop alert",
    r"user unknown",
    r"unzustellbar|nicht (?:\w+ )?(?:zugestellt|ausgeliefert)|nicht zustellbar|zustell(?:fehler|ung .{0,20}fehlgeschlagen)",
    r"notification d.[ée]tat",
    r"avis de non|non (?:distribué|délivré|remis)|[ée]chec de (?:la )?(?:remise|distribution|livraison)"
    r"|impossible de (?:remettre|d[ée]livrer|distribuer)",
    r"no (?:\w+ )?entregad|no se puede entregar|devoluci[óo]n de correo|error en la entrega",
    r"n[ãa]o entreg|n[ãa]o é poss[íi]vel entregar|falha na entrega|(?:mensagem|e-?mail) devolvid",
    r"mancat[ao] (?:consegna|recapito)|non (?:è stato )?(?:recapita|consegna)",
    r"automatisch bericht: niet|onbestelbaar|niet (?:worden )?(?:bezorgd|afgeleverd)",
    r"inte leverera|ikke leveres|kan ikke levere|ei voitu toimittaa",
    r"nie (?:\w+ )?dostarcz|niedostarcz|zwrot wiadomo|nedoru[čc]|nelze doru[čc]|nem kézbesíthető|nelivrat|teslim edil",
    r"(?:не |ошибка |не удалось )(?:\w+ )?достав|недостав|помилка достав|не доставлен",
    r"エラーメール",
    r"配信(?:でき|不能|エラー|失敗)",
    r"送信(?:でき|エラー)",
    r"退信|退件|(?:无法|無法|未)(?:送达|送達|投递)|投[递遞]失[败敗]",
    r"메일 ?(?:전송|배달) ?실패|반송",
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
    r"не (?:может быть )?доставлен",
    r"konnte(?:n)? nicht|nicht zugestellt",
    r"n'a pas pu",
    r"no se pudo",
    r"non è stato",
    r"non (?:recapitabile|consegnat)",
    r"não (?:pôde|foi)",
    r"kon(?:den)? niet|kunde inte|kunne ikke",
    r"nie (?:mogła|mógł|można)|nepodařilo|teslim edilemedi",
    r"無法|无法|未能|못했습니다",
)
_DELAY = _any(
    r"(?:warning|advisory)[- ](?:message )?only",
    r"(?:just|only) a warning",
    r"need not resend",
    r"not need to resend",
    r"still (?:being retried|trying)",
    r"has been (?:delayed|postponed)",
    r"not yet (?:been )?(?:delivered|received)",
    r"will (?:be retried|keep trying|continue (?:to (?:try|retry|attempt)|trying|for|until)|try again|retry for)",
    r"delivery .{0,20}delayed",
    r"delivery attempts will (?:continue|be (?:made|repeated))",
    r"be retried (?:for|until)",
    r"temporary (?:failure|problem delivering)",
    r"noch nicht (?:zugestellt|ausgeliefert)",
    r"(?:zustellung|übermittlung) .{0,20}verzögert",
    r"n'a pas encore (?:été|pu)",
    r"(?:aún|todavía) no se ha",
    r"ainda não foi",
    r"non è ancora stato",
    r"пока не доставлено",
    r"(?:配信|配送|送信)が(?:遅|保留)",
    r"(?:延迟|暂缓)(?:投递|发送)",
)
_FINAL = _any(
    r"giv(?:en|ing) up",
    r"permanent(?:ly)? (?:error|fatal)",
    r"failed permanently",
    r"no further (?:\w+ )?attempts",
    r"permanent failure\.",
)

_LISTS = ("list-id", "list-unsubscribe", "list-post", "x-beenthere")
_REQUEST = _any(
    r"\bconfirm\b", r"\bapprov(?:e|al|ed)\b", r"click (?:here|on|the|https?:)", r"\bverify\b", r"unsubscribe"
)
_CONVERSATION = re.compile(r"\s*(?:re|aw|sv|antw|fwd?|wg|tr|rv|enc)\s*:", re.IGNORECASE)  # a person answers or forwards


def is_bounce(root: Part, text: str, returns: bool, named: bool) -> bool:
    """Whether `text`, the words of `root`, report a failure.

    `returns`: it brings another message back; `named`: it has an address that may be the recipient's.
    """
    if is_forwarded(root):
        return False
    if root.header("x-failed-recipients") or any(part.content_type in REPORT_TYPES for part in root.walk()):
        return True
    subject = root.header("subject")[:500]
    path = root.header("return-path").strip().lower()
    null_path = path == "<>" or "mailer-daemon" in path
    no_person = null_path or not path
    said, reply = bool(_SUBJECT.search(subject)), bool(find_reply(text))
    told = bool(_WORDS.search(text))
    answers = bool(_CONVERSATION.match(subject))
    if from_daemon(root):
        robot = no_person and bool(_ROBOT.search(root.header("from")[:500]))
        listed = (told or robot) and not answers and lists_recipients(text)
        return returns or listed or (reply and no_person) or (said and (no_person or (named and not answers)))
    if is_auto_reply(root) or any(map(root.header, _LISTS)):
        return False
    if returns and said and told:
        return True
    return null_path and (said or told) and (returns or reply or is_delay(text)) and not _REQUEST.search(text)


def is_forwarded(root: Part) -> bool:
    """A person passes a report on, whose parts some mail programs attach one by one; or a robot asks us something."""
    return bool(_CONVERSATION.match(root.header("subject"))) and not from_daemon(root)


def from_daemon(root: Part) -> bool:
    """The author is a mail system, or nobody."""
    author = root.header("from").strip()
    return author in ("", "<>") or bool(_DAEMON.search(author[:500]))


def is_delay(text: str) -> bool:
    """The words of a bounce say that the message is still being tried."""
    return bool(_DELAY.search(text)) and not _FINAL.search(text)
