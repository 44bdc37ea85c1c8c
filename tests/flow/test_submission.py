"""The submission port from an app's side: smtplib, a real listener, a real store."""

import asyncio
import base64
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from config.settings import Limits as LimitSettings
from config.settings import Listener as ListenerSettings
from config.settings import Settings
from mta import ids
from mta.accept.submit import Accept
from mta.model import DeliveryStatus
from mta.policy.authentication import Authenticator
from mta.protocol.smtp_events import ServerOptions
from mta.smtpd.listener import Listener
from mta.smtpd.submission import SubmissionHandler
from mta.store import organizations, suppressions
from mta.store.database import Database
from tests.flow.house import SETTINGS, WAY_OUT, House, house

__all__ = ["house"]  # the fixture
T = TypeVar("T")
MESSAGE = "From: shop@example.com\r\nTo: ann@example.org\r\nSubject: Hi\r\n\r\nHello\r\n"


class Port:
    """A listener and the client of it."""

    def __init__(self, listener: Listener, authenticator: Authenticator) -> None:
        self.listener = listener
        self.authenticator = authenticator

    async def talk(self, dialogue: Callable[[smtplib.SMTP], T], *, key: str | None = "ph_secret") -> T:
        """Runs `dialogue(client)` in a thread, logged in with `key`."""

        def run() -> T:
            with smtplib.SMTP("127.0.0.1", self.listener.port, timeout=10) as client:
                client.ehlo("app.test")
                if key is not None:
                    client.login("anything", key)
                return dialogue(client)

        return await asyncio.to_thread(run)

    async def send(self, message: str = MESSAGE, *to: str, sender: str = "shop@example.com", **more: str) -> str:
        """Sends; returns the message id. Raises what smtplib raises."""

        def dialogue(client: smtplib.SMTP) -> str:
            client.mail(sender)
            for one in to or ("ann@example.org",):
                _check(client.rcpt(one))
            return _check(client.data(message.encode()))

        said = await self.talk(dialogue, **more)
        assert said.startswith("2.0.0 Ok: queued as msg_")
        return said.rpartition(" ")[2]


def _check(answer: tuple[int, bytes]) -> str:
    if answer[0] >= 400:
        raise smtplib.SMTPResponseException(*answer)
    return answer[1].decode()


@asynccontextmanager
async def port(house: House, tmp_path: Path, **listener: object) -> AsyncIterator[Port]:
    accept = Accept(house.database, house.settings, house.offered.extend, WAY_OUT)
    authenticator = Authenticator(house.database)
    settings = ListenerSettings(role="submission", address="127.0.0.1:0", **listener)  # type: ignore[arg-type]
    handler = SubmissionHandler(accept, authenticator, house.database, settings, house.owner)
    made = Listener(handler, ServerOptions("mx.example.net"), host="127.0.0.1", port=0, spool_directory=tmp_path)
    await made.start()
    yield Port(made, authenticator)
    await made.close(1)


@pytest.fixture
async def app(house: House, tmp_path: Path) -> AsyncIterator[Port]:
    await house.key("ph_secret", "emails:send")
    async with port(house, tmp_path) as made:
        yield made


async def refused(app: Port, message: str = MESSAGE, *to: str, sender: str = "shop@example.com") -> tuple[int, str]:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        await app.send(message, *to, sender=sender)
    return caught.value.smtp_code, bytes(caught.value.smtp_error).decode()


async def test_a_message_is_taken_and_offered(house: House, app: Port) -> None:
    id = await app.send()
    message = await house.message(id)
    assert (message.subject, message.source, message.size) == ("Hi", "smtp", len(await house.head(id)) + 2 + 7)
    assert [queued.message_id for queued in house.offered] == [id]
    assert house.offered[0].reverse_path == "shop@example.com"


async def test_received_tells_nothing_about_the_app(house: House, app: Port) -> None:
    head = await house.head(await app.send())
    received = head.partition("\r\nDate")[0]
    assert " with ESMTPA id" in received
    for secret in ("127.0.0.1", "app.test", "anything", "ann@", "ph_secret"):
        assert secret not in received


async def test_dsn_wishes_are_kept(house: House, app: Port) -> None:
    def dialogue(client: smtplib.SMTP) -> str:
        client.mail("shop@example.com", ["RET=HDRS", "ENVID=QQ314159"])
        client.rcpt("ann@example.org", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;ann@example.org"])
        return _check(client.data(MESSAGE.encode()))

    await app.talk(dialogue)
    (queued,) = house.offered
    assert (queued.ret, queued.envid, queued.notify) == ("HDRS", "QQ314159", ("SUCCESS", "FAILURE"))
    assert queued.orcpt == "rfc822;ann@example.org"


# Who


async def test_without_a_key_nothing_begins(app: Port) -> None:
    code, text = await app.talk(lambda client: client.mail("shop@example.com"), key=None)
    assert (code, text[:5]) == (530, b"5.7.0")


async def test_a_wrong_key_and_one_that_may_not_send(house: House, app: Port) -> None:
    await house.key("ph_reader", "emails:read")
    for key in ("wrong", "ph_reader"):
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            await app.talk(lambda client: None, key=key)
        assert caught.value.smtp_code == 535


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_any_user_name_will_do(app: Port, mechanism: str) -> None:
    def dialogue(client: smtplib.SMTP) -> int:
        if mechanism == "PLAIN":
            return client.docmd("AUTH PLAIN " + base64.b64encode(b"\0somebody\0ph_secret").decode())[0]
        client.docmd("AUTH LOGIN")
        client.docmd(base64.b64encode(b"somebody").decode())
        return client.docmd(base64.b64encode(b"ph_secret").decode())[0]

    assert await app.talk(dialogue, key=None) == 235


@pytest.mark.parametrize("before", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_revoked_key_stops_at_the_next_command(house: House, app: Port, before: str) -> None:
    (row,) = await house.database.read(organizations.list_keys, house.organization.id)
    loop = asyncio.get_running_loop()

    def revoke() -> None:
        write = house.database.write(organizations.revoke_key, row.id, 1)
        asyncio.run_coroutine_threadsafe(write, loop).result(5)
        loop.call_soon_threadsafe(app.authenticator.revoked, row.id)

    def end(client: smtplib.SMTP) -> tuple[int, bytes]:
        client.send(MESSAGE.encode() + b"\r\n.\r\n")
        return client.getreply()

    def dialogue(client: smtplib.SMTP) -> tuple[int, bytes]:
        commands = {
            "MAIL": lambda: client.mail("shop@example.com"),
            "RCPT": lambda: client.rcpt("ann@example.org"),
            "DATA": lambda: client.docmd("DATA"),
            "DOT": lambda: end(client),
        }
        for name, command in commands.items():
            if name == before:
                revoke()
                return command()
            assert command()[0] in (250, 354)
        raise AssertionError

    assert await app.talk(dialogue) == (530, b"5.7.0 This API key has been revoked. Make a new one.")
    assert await house.count("messages") == 0


async def test_keys_that_are_not_good_are_told_why(house: House, app: Port) -> None:
    await house.key("ph_expired", "emails:send", expires_at=1)
    await house.key("ph_reader", "emails:read")
    revoked = await house.key("ph_revoked", "emails:send")
    await house.database.write(organizations.revoke_key, revoked, 1)
    for key, said in (
        ("ph_expired", "This API key has expired. Make a new one."),
        ("ph_revoked", "This API key has been revoked. Make a new one."),
        ("ph_reader", "This API key may not send: it lacks the scope emails:send."),
        ("ph_unknown", "There is no such API key. Check that the whole key was copied."),
    ):
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            await app.send(key=key)
        assert (refusal.value.smtp_code, refusal.value.smtp_error) == (535, f"5.7.8 {said}".encode())


async def test_an_app_with_an_old_key_locks_out_no_other_but_who_guesses_does(house: House, app: Port) -> None:
    """All apps of a host, or behind one router, have one address."""
    await house.key("ph_expired", "emails:send", expires_at=1)
    for key in ("ph_expired", "ph_guessed"):
        for _ in range(10):
            with pytest.raises(smtplib.SMTPException):
                await app.send(key=key)
        if key == "ph_expired":
            await app.send()
    with pytest.raises(smtplib.SMTPException, match=r"421|closed"):  # smtplib tries a second mechanism after the 421
        await app.send()


async def test_a_key_that_expires_in_a_session_stops_it(
    house: House, app: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires_at = ids.now_ms() + 60_000
    await house.key("ph_short", "emails:send", expires_at=expires_at)

    def dialogue(client: smtplib.SMTP) -> tuple[int, bytes]:
        assert client.mail("shop@example.com")[0] == 250
        monkeypatch.setattr(app.authenticator, "_clock", lambda: expires_at)
        return client.rcpt("ann@example.org")

    assert await app.talk(dialogue, key="ph_short") == (530, b"5.7.0 This API key has expired. Make a new one.")


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        ({"allowance": 1}, "4.7.1 Organization shop has used its 1 free messages of "),
        (
            {"allowance": 1, "price_per_1000_cents": 1000, "cap_cents": 0},
            "4.7.1 Sending of organization shop is paused: at its pace ",
        ),
    ],
)
async def test_who_may_spend_no_more_is_told_to_come_back(
    house: House, app: Port, usage: dict[str, int], said: str
) -> None:
    changed = replace(house.organization, settings={"usage": usage})
    await house.database.write(organizations.update, changed)
    await app.send()
    code, text = await refused(app)
    assert code == 452 and text.startswith(said) and text.endswith((".", "lower."))
    assert await house.count("messages") == 1
    await house.database.write(organizations.update, house.organization)
    await app.send()


@pytest.mark.parametrize(
    ("listener", "allowed"),
    [
        ({"trusted_networks": ("127.0.0.0/8",)}, True),
        ({"require_auth": False}, True),
        ({"trusted_networks": ("10.0.0.0/8", "::1/128")}, False),
        ({"trusted_networks": ("10.0.0.0/8",), "require_auth": False}, False),
    ],
)
async def test_a_trusted_network_needs_no_key(
    house: House, tmp_path: Path, listener: dict[str, object], allowed: bool
) -> None:
    async with port(house, tmp_path, **listener) as app:
        code, _ = await app.talk(lambda client: client.mail("shop@example.com"), key=None)
        assert code == (250 if allowed else 530)
        if allowed:
            id = await app.send(key=None)  # type: ignore[arg-type]
            assert (await house.message(id)).organization_id == house.organization.id
            assert " with ESMTP id" in await house.head(id)


async def test_a_test_key_s_mail_is_apart(house: House, app: Port) -> None:
    await house.key("ph_test", test=True)
    assert (await house.message(await app.send(key="ph_test"))).test
    assert not (await house.message(await app.send())).test


# From what path, as whom


async def test_the_reverse_path_is_of_the_organization_or_empty(app: Port) -> None:
    async def answer(sender: str) -> tuple[int, bytes]:
        return await app.talk(lambda client: client.mail(sender))

    code, text = await answer("a@elsewhere.example")
    assert code == 550 and text.startswith(b"5.7.1 The return path")
    for sender in ("", "a@example.com", "root@web1.example.com"):
        assert (await answer(sender))[0] == 250


@pytest.mark.parametrize(
    ("head", "enhanced"),
    [
        ("From: ceo@bank.example\r\n", "5.7.1"),
        ("From: a@example.com\r\nFrom: b@example.com\r\n", "5.6.0"),
        ("Subject: nobody\r\n", "5.6.0"),
        ("From: a@example.com, b@example.com\r\n", "5.6.0"),
        ("From: a@example.com\r\nX-Posthouse-Nonsense: 1\r\n", "5.6.0"),
        ("From: a@example.com\r\n" + "Received: by a\r\n" * 51, "5.4.6"),
    ],
)
async def test_header_blocks_that_are_refused(house: House, app: Port, head: str, enhanced: str) -> None:
    code, text = await refused(app, f"{head}\r\nHello\r\n")
    assert (code, text.partition(" ")[0]) == (550, enhanced)
    assert await house.count("messages") == 0


async def test_a_bare_line_end_makes_no_header_field(house: House, app: Port) -> None:
    def dialogue(client: smtplib.SMTP) -> int:
        client.mail("shop@example.com")
        client.rcpt("ann@example.org")
        client.putcmd("data")
        assert client.getreply()[0] == 354
        client.send(b"From: shop@example.com\r\nSubject: a\nBcc: eve@example.org\r\n\r\nHello\r\n.\r\n")
        return client.getreply()[0]

    assert 500 <= await app.talk(dialogue) < 600
    assert await house.count("messages") == 0


async def test_options_are_read_and_removed(house: House, app: Port) -> None:
    id = await app.send("X-Posthouse-Tag: a=b\r\nX-Posthouse-Stream: broadcast\r\nBcc: eve@example.org\r\n" + MESSAGE)
    message = await house.message(id)
    assert (message.tags, message.stream) == ({"a": "b"}, "broadcast")
    head = (await house.head(id)).lower()
    assert "x-posthouse" not in head and "bcc" not in head and "eve" not in head


# To whom


async def test_a_suppressed_recipient_is_refused_with_the_reason(house: House, app: Port) -> None:
    await house.suppress("ann@example.org", "complaint")
    code, text = await app.talk(lambda client: (client.mail("shop@example.com"), client.rcpt("Ann@example.org"))[1])
    assert code == 550 and text.startswith(b"5.7.1 ann@example.org is suppressed: its owner reported")
    await house.database.write(lambda tx: None)  # what was posted before is done
    told = await house.database.read(lambda tx: tx.all("SELECT type, recipient FROM events ORDER BY id"))
    assert told == [("suppression.created", "ann@example.org"), ("message.suppressed", "Ann@example.org")]


async def test_at_data_the_stream_decides(house: House, app: Port) -> None:
    await house.suppress("ann@example.org", "unsubscribe", "broadcast")
    code, text = await refused(app, "X-Posthouse-Stream: broadcast\r\n" + MESSAGE)
    assert (code, text[:5]) == (550, "5.7.1") and await house.count("messages") == 0
    own = "X-Posthouse-Stream: broadcast\r\nList-Unsubscribe: <https://example.com/leave>\r\n"
    code, text = await refused(app, "X-Posthouse-Stream: broadcast\r\n" + MESSAGE, "ann@example.org", "bob@example.org")
    assert code == 550 and "List-Unsubscribe" in text
    id = await app.send(own + MESSAGE, "ann@example.org", "bob@example.org")
    states = {one.recipient: one.status for one in await house.deliveries(id)}
    assert states == {"ann@example.org": DeliveryStatus.SUPPRESSED, "bob@example.org": DeliveryStatus.QUEUED}
    await app.send()


async def test_a_thousand_recipients_and_no_more(house: House, app: Port) -> None:
    def dialogue(client: smtplib.SMTP) -> tuple[list[int], int]:
        client.mail("shop@example.com")
        client.send("".join(f"RCPT TO:<r{n}@example.org>\r\n" for n in range(1001)))
        return [client.getreply()[0] for _ in range(1001)], client.data(MESSAGE.encode())[0]

    codes, code = await app.talk(dialogue)
    assert (codes, code) == ([250] * 1000 + [452], 250)
    assert await house.count("deliveries") == 1000 and await house.count("body_chunks") == 1


# Retries, limits, room


async def test_a_retry_with_its_key_is_answered_with_the_same_id(house: House, app: Port) -> None:
    keyed = "X-Posthouse-Idempotency-Key: k\r\n" + MESSAGE
    assert await app.send(keyed) == await app.send(keyed)
    code, _ = await refused(app, keyed, "bob@example.org")
    assert code == 554 and await house.count("messages") == 1


async def test_over_a_limit_the_app_is_told_to_come_back(house: House, app: Port) -> None:
    organization = replace(house.organization, settings={"limits": {"per_hour": 1}})
    await house.database.write(organizations.update, organization)
    await app.send()
    code, text = await refused(app)
    assert (code, text[:5]) == (451, "4.7.1")


async def test_a_full_disk_is_temporary(tmp_path: Path) -> None:
    database = Database(tmp_path / "posthouse.sqlite", floor_bytes=2**62, floor_percent=100)
    await database.start()
    house = House(database, await database.write(organizations.add, "shop", "custom"))
    await house.key("ph_secret")
    async with port(house, tmp_path) as app:
        code, text = await app.talk(lambda client: client.mail(""))
        assert (code, text[:5]) == (452, b"4.3.1")
    await database.close()


async def test_our_own_trouble_is_never_permanent(house: House, app: Port) -> None:
    def dialogue(client: smtplib.SMTP) -> list[int]:
        client.mail("shop@example.com")
        client.rcpt("ann@example.org")
        asyncio.run_coroutine_threadsafe(house.database.close(), loop).result(10)
        return [client.data(MESSAGE.encode())[0], client.mail("shop@example.com")[0]]

    loop = asyncio.get_running_loop()
    codes = await app.talk(dialogue)
    assert all(400 <= code < 500 for code in codes)


async def test_settings_limit_the_size(house: House, tmp_path: Path) -> None:
    await house.key("ph_secret")
    house.settings = Settings(hostname=SETTINGS.hostname, limits=LimitSettings(message_bytes=50))
    async with port(house, tmp_path) as app:
        code, text = await refused(app)
    assert (code, text[:5]) == (552, "5.3.4")


async def test_a_suppression_made_between_rcpt_and_data_counts(house: House, app: Port) -> None:
    loop = asyncio.get_running_loop()

    def dialogue(client: smtplib.SMTP) -> int:
        client.mail("shop@example.com")
        assert client.rcpt("ann@example.org")[0] == 250
        asyncio.run_coroutine_threadsafe(house.suppress("ann@example.org"), loop).result(5)
        return client.data(MESSAGE.encode())[0]

    assert await app.talk(dialogue) == 550
    found = await house.database.read(suppressions.applying, house.organization.id, False, "ann@example.org", "")
    assert found is not None and await house.count("messages") == 0
