"""Templates: named mail with variables, in versions that never change; rendered here, accepted like any other mail.

Everything is by organization: test keys and live ones share templates. A template is named by its id or its slug.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict, TypeVar

from mta import ids
from mta.control import rendering
from mta.control import template_changes as stored
from mta.control.diagnostics import findings_of
from mta.control.rendering import Rendered, Source
from mta.control.template_changes import ACTIVE, ARCHIVED, DELETED, DRAFT, TemplateView
from mta.control.template_variables import check_defaults, filled
from mta.errors import Conflict, InvalidInput, Unprocessable
from mta.model import Defaults, Page, Principal, Template, TemplateVersion, Variable
from mta.policy import senders, streams
from mta.protocol.lint import Finding
from mta.protocol.mailboxes import Mailbox
from mta.store import events, templates
from mta.store.database import Database
from mta.store.sqlite import Tx

T = TypeVar("T")
STATUSES: Final = (ACTIVE, DRAFT, ARCHIVED, DELETED)
NO_DEFAULTS: Final = Defaults()
MAX_FOUND: Final = 10_000  # templates that a list by offset counts
SHOWN_VERSIONS: Final = 50  # with a template; more are pages of their own
_WAY_OUT: Final = {DRAFT: "it is published", ARCHIVED: "its status is active again"}


@dataclass(frozen=True, slots=True)
class Ready:
    """A template made into mail."""

    template: Template
    version: TemplateVersion
    mail: Rendered


class Changes(TypedDict, total=False):
    """What a change gives; what is not there stays."""

    name: str
    slug: str
    description: str
    status: str
    subject: str
    html: str | None
    text: str | None
    preheader: str
    details: Mapping[str, Any]
    author: str
    reply_to: tuple[str, ...]
    variables: tuple[Variable, ...]


class Templates:
    def __init__(self, database: Database, *, clock: Callable[[], int] = ids.now_ms) -> None:
        self._database = database
        self._clock = clock
        # Threads of its own: a slow template holds up other templates only.
        self._threads = ThreadPoolExecutor(2, "render")

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        source: Source,
        slug: str | None = None,
        description: str = "",
        draft: bool = False,
        details: Mapping[str, Any] | None = None,
        defaults: Defaults = NO_DEFAULTS,
    ) -> TemplateView:
        """A draft is not sent before it is published; without a slug, one is made of the id.

        Raises InvalidInput, or Conflict (`template_exists`) where the slug is taken.
        """
        now = self._clock()
        id, status = ids.new("tpl", now), DRAFT if draft else ACTIVE
        slug = id.replace("_", "-") if slug is None else slug
        made = Template(
            id, principal.organization_id, slug, name.strip(), description, status, "", now, now, details or {}
        )
        stored.check(made)
        version = await self._version(id, 1, source, defaults)
        made = replace(made, active_version_id=version.id, published_at=None if draft else now)
        await self._database.write(stored.add, made, version)
        return TemplateView(made, version, (version,))

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: str | None = None,
        search: str = "",
    ) -> Page[TemplateView]:
        """Newest first; without a status all but the deleted. `search` looks into name, slug and description."""
        if status is not None and status not in STATUSES:
            raise InvalidInput(f'"{status[:40]}" is no status; there are {", ".join(STATUSES)}.', field="status")

        def read(tx: Tx) -> list[TemplateView]:
            found = templates.page(
                tx,
                principal.organization_id,
                limit + 1,
                before=cursor or templates.LAST,
                status=status,
                search=search,
            )
            return [
                TemplateView(each, stored.active_of(tx, each), tuple(templates.versions(tx, each.id, 1)))
                for each in found
            ]

        found = await self._database.read(read)
        return Page.cut(found, limit, lambda view: view.template.id)

    async def found(
        self, principal: Principal, offset: int, limit: int, *, active: bool | None = None, search: str = ""
    ) -> tuple[list[TemplateView], int]:
        """As `page`, by offset, those that are sent or those that are not (None: both), with how many there are: of the
        newest MAX_FOUND."""

        def read(tx: Tx) -> tuple[list[TemplateView], int]:
            every = templates.page(tx, principal.organization_id, MAX_FOUND, search=search)
            every = [each for each in every if active in (None, each.status == ACTIVE)]
            shown = every[offset : offset + limit]
            return [TemplateView(each, stored.active_of(tx, each)) for each in shown], len(every)

        return await self._database.read(read)

    async def get(self, principal: Principal, key: str) -> TemplateView:
        """Raises NotFound, as everything below; a deleted template is not found."""

        def read(tx: Tx, found: Template) -> TemplateView:
            newest = templates.versions(tx, found.id, SHOWN_VERSIONS)
            return TemplateView(found, stored.active_of(tx, found), tuple(newest))

        return await self._about(principal, key, read)

    async def update(self, principal: Principal, key: str, changes: Changes, *, activate: bool = True) -> TemplateView:
        """A change of its words or of its defaults is a new version, active at once; with `activate` False it goes on from
        the newest version and waits to be published.

        Raises InvalidInput, or Conflict where the slug is taken or somebody else changed it at the same moment.
        """
        before = await self.get(principal, key)
        base, newest = before.active if activate else before.versions[0], before.versions[0]
        source = replace(_source(base), **_of(changes, ("subject", "html", "text", "preheader")))
        defaults = replace(base.defaults, **_of(changes, ("author", "reply_to", "variables")))
        changed = replace(before.template, **_of(changes, ("name", "slug", "description", "status", "details")))
        stored.check(changed)
        version = None
        if (source, defaults) != (_source(base), base.defaults):
            version = await self._version(changed.id, newest.number + 1, source, defaults)
            if activate:
                changed = replace(changed, active_version_id=version.id)
        if version is not None or changed != before.template:
            changed = replace(changed, updated_at=self._clock())
            await self._database.write(stored.update, before, changed, version)
        return await self.get(principal, changed.id)

    async def duplicate(self, principal: Principal, key: str) -> TemplateView:
        """Its newest version as a draft of its own, with a slug of its own."""
        view = await self.get(principal, key)
        return await self.create(
            principal,
            name=f"{view.template.name[:190]} (copy)",
            source=_source(view.versions[0]),
            description=view.template.description,
            draft=True,
            details=view.template.details,
            defaults=view.versions[0].defaults,
        )

    async def delete(self, principal: Principal, key: str) -> None:
        """Its slug is free again; messages that were made of it stay."""
        await self._database.write(stored.delete, principal.organization_id, key, self._clock())

    async def versions(
        self, principal: Principal, key: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[TemplateVersion]:
        """Newest first."""

        def read(tx: Tx, found: Template) -> list[TemplateVersion]:
            last = templates.version_by_id(tx, found.id, cursor) if cursor else None
            before = last.number if last else templates.MAX_NUMBER
            return templates.versions(tx, found.id, limit + 1, before)

        found = await self._about(principal, key, read)
        return Page.cut(found, limit)

    async def version(self, principal: Principal, key: str, version_id: str | None = None) -> TemplateVersion:
        """That version, or the active one."""
        return (await self._source_of(principal, key, version_id))[1]

    async def activate(self, principal: Principal, key: str, version_id: str) -> TemplateView:
        """Mail is made of that version from now on."""
        await self._database.write(stored.activate, principal.organization_id, key, version_id, self._clock())
        return await self.get(principal, key)

    async def publish(self, principal: Principal, key: str) -> TemplateView:
        """Mail is made of its newest version from now on."""
        await self._database.write(stored.publish, principal.organization_id, key, self._clock())
        return await self.get(principal, key)

    async def preview(
        self, principal: Principal, key: str, data: Mapping[str, Any], version_id: str | None = None
    ) -> Rendered:
        """What is missing is empty, and named in `missing`."""
        _, version = await self._source_of(principal, key, version_id)
        return await self._rendered(_source(version), data, version.defaults.variables)

    async def render(
        self,
        principal: Principal,
        key: str,
        data: Mapping[str, Any],
        version_id: str | None = None,
        *,
        subject: str | None = None,
    ) -> Ready:
        """To be sent; `subject` stands for the template's own. Raises Unprocessable (`template_variables_missing`),
        Conflict (`template_archived`), or InvalidInput (`subject_missing`) where there is none."""
        template, version = await self._source_of(principal, key, version_id)
        if template.status != ACTIVE:
            raise Conflict(
                f"Template {key} is {template.status}: it cannot be sent until {_WAY_OUT[template.status]}.",
                code=f"template_{template.status}",
            )
        if subject is None and not version.subject:
            raise InvalidInput(
                f"Template {template.slug} has no subject, so the message needs one.",
                code="subject_missing",
                field="subject",
            )
        source = _source(version) if subject is None else replace(_source(version), subject=subject)
        mail = await self._rendered(source, data, version.defaults.variables)
        return Ready(template, version, _whole(mail, f"template {key}"))

    async def fill(self, source: Source, data: Mapping[str, Any]) -> Rendered:
        """Words that are no template's, with their `{{ variables }}`; to be sent. Raises as `render`, or InvalidInput."""
        await self._run(rendering.check, source)
        return _whole(await self._rendered(source, data), "the message")

    async def diagnose(
        self,
        principal: Principal,
        key: str,
        data: Mapping[str, Any],
        version_id: str | None = None,
        stream: str = "transactional",
    ) -> tuple[Finding, ...]:
        """What is wrong with it, the worst first; `stream` is the one that it will be sent through."""
        _, version = await self._source_of(principal, key, version_id)
        values, _ = filled(version.defaults.variables, data)
        return await self.diagnose_words(principal, _source(version), values, stream)

    async def diagnose_words(
        self, principal: Principal, source: Source, data: Mapping[str, Any] | None, stream: str = "transactional"
    ) -> tuple[Finding, ...]:
        """The same of words that are no template's; `data` None: they have no variables."""
        through = await self._database.read(streams.named, principal.organization_id, stream)
        return await self._run(findings_of, source, data, through.type.value)

    async def tell_test_sent(
        self, principal: Principal, key: str, message_id: str, version_id: str | None = None
    ) -> None:
        """Records that a template was sent to try it."""
        template, version = await self._source_of(principal, key, version_id)

        def tell(tx: Tx) -> None:
            events.add(
                tx,
                principal.organization_id,
                "template.test_sent",
                "template",
                template.id,
                test=principal.test,
                message_id=message_id,
                data={"slug": template.slug, "version_id": version.id},
                at=self._clock(),
            )

        await self._database.write(tell)

    async def default_sender(self, principal: Principal) -> Mailbox:
        """Of templates that are sent without From. Raises InvalidInput where no domain is verified."""
        return "", await self._database.read(senders.default_sender, principal.organization_id)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _rendered(self, source: Source, data: Mapping[str, Any], variables: Sequence[Variable] = ()) -> Rendered:
        """What a declared variable lacks is missing, whether the words use it or not."""
        values, lacking = filled(variables, data)
        mail = await self._run(rendering.render, source, values)
        return replace(mail, missing=tuple(dict.fromkeys((*lacking, *mail.missing))))

    async def _version(self, template_id: str, number: int, source: Source, defaults: Defaults) -> TemplateVersion:
        """Raises InvalidInput."""
        check_defaults(defaults)
        variables, now = await self._run(rendering.check, source), self._clock()
        return TemplateVersion(
            ids.new("tplv", now),
            template_id,
            number,
            source.subject,
            source.html,
            source.text,
            variables,
            now,
            source.preheader,
            defaults,
        )

    async def _source_of(
        self, principal: Principal, key: str, version_id: str | None
    ) -> tuple[Template, TemplateVersion]:
        def read(tx: Tx, found: Template) -> tuple[Template, TemplateVersion]:
            return found, stored.version_of(tx, found, found.active_version_id if version_id is None else version_id)

        return await self._about(principal, key, read)

    async def _about(self, principal: Principal, key: str, read: Callable[[Tx, Template], T]) -> T:
        return await self._database.read(lambda tx: read(tx, stored.named(tx, principal.organization_id, key)))


def _source(version: TemplateVersion) -> Source:
    return Source(version.subject, version.html, version.text, version.preheader)


def _whole(mail: Rendered, what: str) -> Rendered:
    """Raises Unprocessable (`template_variables_missing`)."""
    if mail.missing:
        names = ", ".join(mail.missing[:20])
        raise Unprocessable(
            f"The data lacks what {what} needs: {names}. Nothing was queued.",
            code="template_variables_missing",
            field="data",
            details={"missingVariables": list(mail.missing)},
        )
    return mail


def _of(changes: Changes, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name in names}
