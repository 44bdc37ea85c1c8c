"""The scripted MX as a test of a daemon sees it: from another thread, with a client that is not ours."""

from __future__ import annotations

import smtplib
import threading

import pytest

from tests.fakes.mx import DROP, Hold, ScriptedMx


def test_a_scripted_mx_in_a_thread() -> None:
    hold = Hold("250 2.0.0 Ok")
    with ScriptedMx({"DOT": hold, "RCPT eve@example.org": "550 5.1.1 No such user"}).in_thread() as mx:
        client = smtplib.SMTP("127.0.0.1", mx.port, timeout=10)
        arguments = ("sender@example.com", ["bob@example.org", "eve@example.org"], "Subject: x\r\n\r\n.dot\r\n")
        sending = threading.Thread(target=client.sendmail, args=arguments)
        sending.start()
        hold.reached.result(10)
        assert mx.messages == []
        hold.release()
        [message] = mx.wait_messages(1)
        sending.join(10)
        assert (message.sender, message.addresses) == ("sender@example.com", ["bob@example.org"])
        assert message.content == b"Subject: x\r\n\r\n.dot\r\n"
        mx.script["RSET"] = DROP
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.rset()
    assert (mx.connections, mx.counts["DATA"]) == (1, 1)
