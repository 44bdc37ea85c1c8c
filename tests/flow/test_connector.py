"""What the connector remembers of servers: whose TLS handshake broke is met in clear for a while, and nobody else is."""

from __future__ import annotations

from config.settings import Outbound
from mta.net.dns import Resolver
from mta.net.smtp import SmtpConnection, Timeouts
from mta.net.tls import ServerTls
from mta.outbound.connector import Connector
from mta.outbound.route import Route
from tests.fakes.mx import DROP, ScriptedMx, Then

BROKEN = {"STARTTLS": Then("220 Go", DROP)}


async def reach(connector: Connector, mx: ScriptedMx) -> SmtpConnection:
    route = Route(f"host:127.0.0.1:{mx.port}", ("127.0.0.1",), mx.port, "opportunistic", 5, 100)
    connection = await connector.connect(route)
    await connection.quit()
    return connection


async def test_broken_tls_is_remembered_of_one_server_for_its_time() -> None:
    now = 0.0
    tls = ServerTls("mx.example.org").context
    connector = Connector(
        Outbound(broken_tls_s=60), Timeouts(), Resolver(["127.0.0.1:9"]), "mail.example.org", clock=lambda: now
    )
    async with ScriptedMx(BROKEN, tls=tls) as broken, ScriptedMx(tls=tls) as sound:
        assert (await reach(connector, broken)).tls is None
        assert broken.counts["STARTTLS"] == 1
        assert (await reach(connector, broken)).tls is None
        assert broken.counts["STARTTLS"] == 1  # not tried again

        assert (await reach(connector, sound)).tls is not None  # another server of the same name

        now = 61.0
        broken.script.clear()
        assert (await reach(connector, broken)).tls is not None
