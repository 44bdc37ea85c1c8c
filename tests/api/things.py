"""One of each thing that an organization can have, and which of them the paths of each surface mean.

A new surface adds its line to RESOURCES; a new kind of thing is a field of Things, made in `things_of`.
"""

from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta

from api.routing import Route, Surface
from mta import ids
from mta.control.otp_mail import Wanted
from mta.control.rendering import Source
from mta.model import Principal
from mta.protocol import tracking, unsubscribe, verp
from mta.protocol.address import parse_address
from mta.store.secrets import Secrets
from tests.api.conftest import House

DAY_MS = 86_400_000
MAIL = (  # its parts: 0 the whole, 1 the text, 2 an attachment
    b"From: a@b.example\r\nTo: Help <help@in.example.com>\r\nSubject: Where is it?\r\n"
    b'Content-Type: multipart/mixed; boundary="="\r\n\r\n--=\r\n\r\nHi\r\n'
    b'--=\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"\r\n\r\nPDF\r\n--=--\r\n'
)


@dataclass(frozen=True)
class Things:
    """Ids, but for the last ones: the one attachment of the inbound message and of the scheduled one, the tokens of a
    link to it, an unsubscribe link, a pixel and a tracked link, and the return path of the message's delivery (its
    local part)."""

    organization: str
    key: str
    message: str
    domain: str
    scheduled: str
    batch: str
    template: str
    version: str
    otp: str
    asset: str
    event: str
    suppression: str
    inbound_domain: str
    inbound_message: str
    export: str
    webhook: str
    webhook_delivery: str
    empty_organization: str
    attachment: str
    download: str
    unsubscribe_token: str
    pixel: str
    link: str
    return_path: str

    def by_prefix(self) -> dict[str, str]:
        """The first thing of each prefix: an id of a text can be replaced by one that is there."""
        prefixed = [id for id in astuple(self) if id[-27:-26] == "_"]
        return {id[:-27]: id for id in reversed(prefixed)}


# Surface -> the path up to its {id} -> the field of Things that {id} means.
RESOURCES: dict[str, dict[str, str]] = {
    "StackShift Mail": {
        "/messages": "message",
        "/domains": "domain",
        "/tracking/domains": "domain",
        "/events": "event",
        "/scheduled": "scheduled",
        "/batches": "batch",
        "/templates": "template",
        "/suppressions": "suppression",
        "/inbound/domains": "inbound_domain",
        "/inbound/messages": "inbound_message",
        "/exports": "export",
        "/otp/challenges": "otp",
        "/webhooks": "webhook",
        "/webhook-deliveries": "webhook_delivery",
        "/admin/organizations": "organization",
    },
    "StackShift Assets": {"": "asset"},
    "Stack0": {
        "": "message",
        "/emails": "message",
        "/domains": "domain",
        "/templates": "template",
        "/templates/slug": "template",
    },
    "MailStack": {
        "/emails": "message",
        "/messages": "message",
        "/domains": "domain",
        "/api-keys": "key",
        "/organizations": "empty_organization",
        "/templates": "template",
        "/webhooks": "webhook",
        "/webhooks/deliveries": "webhook_delivery",
    },
    "Resend": {
        "/emails": "scheduled",
        "/emails/receiving": "inbound_message",
        "/templates": "template",
        "/domains": "domain",
        "/api-keys": "key",
        "/suppressions": "suppression",
        "/webhooks": "webhook",
    },
}
# What stands in a path for something else than the thing itself.
PARTS = {
    "event_id": "event",
    "version_id": "version",
    "attachment_id": "attachment",
    "organization_id": "organization",
    "token": "unsubscribe_token",
    "pixel": "pixel",
    "download": "download",
    "link": "link",
}


def field_of(surface: Surface, route: Route, parameter: str) -> str:
    """The field of Things that a parameter of a route means. KeyError: the surface has no line for it yet."""
    before = route.path.partition(f"/{{{parameter}}}")[0]
    return PARTS.get(parameter) or RESOURCES[surface.name][before]


async def things_of(house: House) -> Things:
    owner = Principal(house.organization_id)
    async with house.client() as client:
        body = {"from": "ada@example.com", "to": "bob@example.org", "subject": "x", "text": "x"}
        message = (await client.post("/v1/mail/send", json=body)).json()["data"]["id"]
        at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        later = {"sendAt": at, "message": {**body, "attachments": [{"filename": "a.pdf", "content": "UERG"}]}}
        scheduled = (await client.post("/v1/mail/scheduled", json=later)).json()["data"]["id"]
        items = {"from": body["from"], "messages": [body], "sendAt": at}
        batch = (await client.post("/v1/mail/batch", json=items)).json()["data"]["id"]
        asset = (await client.post("/api/v1/assets/upload", files={"file": ("a.txt", b"x")})).json()["data"]["id"]
    source = Source("Hi {{ name }}", "<p>Hi {{ name }}</p>", "Hi")
    template = await house.control.templates.create(owner, name="Welcome", slug="welcome", source=source)
    export = await house.control.exports.create(owner)
    await house.control.exports.work()
    wanted = Wanted(parse_address("bob@example.org"), "login")
    receiving = await house.control.inbound.create(owner, "in.example.com")
    came = await house.control.inbound.ingest(MAIL, None, ["help@in.example.com"])
    hook = (await house.control.webhooks.create(owner, "https://hooks.example.net/", ["*"], ["*"])).webhook.id
    event = (await house.control.events.page(owner, limit=1)).items[0].id
    link = unsubscribe.Subscription(house.organization_id, False, "broadcast", "bob@example.org", message)
    (sent,) = await house.control.webhooks.replay(owner, hook, [event], None)
    key = Secrets(bytes(32)).derive(tracking.KEY)
    return Things(
        organization=house.organization_id,
        key=(await house.control.keys.create(owner, "more"))[0].id,
        message=message,
        domain=(await house.control.domains.page(house.organization_id)).items[0].domain.id,
        scheduled=scheduled,
        batch=batch,
        template=template.template.id,
        version=(await house.control.templates.version(owner, template.template.id)).id,
        otp=(await house.control.otp.send(owner, wanted)).id,
        asset=asset,
        event=event,
        suppression=(await house.control.suppressions.create(owner, "no@example.org")).id,
        inbound_domain=receiving.id,
        inbound_message=came.stored[0],
        export=export.id,
        webhook=hook,
        webhook_delivery=sent.id,
        empty_organization=(await house.control.organizations.create("empty")).id,
        attachment="2",
        download=house.control.downloads.link(owner, came.stored[0]).token,
        return_path=verp.encode(
            house.offered[0].delivery_id, Secrets(bytes(32)).derive("verp"), ids.now_ms() // DAY_MS
        ),
        pixel=tracking.encode(tracking.Hit(house.offered[0].delivery_id, ""), key),
        link=tracking.encode(tracking.Hit(house.offered[0].delivery_id, "https://example.com/"), key),
        unsubscribe_token=unsubscribe.encode(link, Secrets(bytes(32)).derive(unsubscribe.KEY)),
    )
