"""The command line: what it asks the daemon, what it prints, how it exits. The daemon's half answers from a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from config.load import load
from config.settings import Settings
from mta import ids
from mta.cli import main
from mta.cli.output import printable
from tests.fakes.operator import Answer, Daemon

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="posthouse") as name:  # tmp_path may be too long for a socket
        monkeypatch.setenv("POSTHOUSE_DATA_DIR", name)
        monkeypatch.delenv("POSTHOUSE_CONFIG", raising=False)
        monkeypatch.chdir(name)
        yield Path(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posthouse", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return command


@pytest.fixture
def daemon(data_dir: Path) -> Iterator[Daemon]:
    answering = Daemon()
    with answering.listening(data_dir / "posthouse.sock"):
        yield answering


def page(*items: Any) -> Answer:
    return {"data": list(items), "next_cursor": None}


KEY = {
    "id": "key_1",
    "organization_id": "org_1",
    "name": "app",
    "prefix": "ph_live_ab",
    "scopes": ["mail:send"],
    "test": False,
    "created_at": 1_700_000_000_000,
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
}
RECORD = {
    "purpose": "dkim",
    "type": "TXT",
    "name": "s1._domainkey.a.example",
    "value": "v=DKIM1; p=x",
    "priority": None,
    "required": True,
    "status": "missing",
    "found": ["v=DKIM1; \x1b[2J"],
    "explanation": "Lets receivers check our signature. The key is another one: replace it by ours.",
}
DOMAIN = {"id": "dom_1", "name": "a.example", "status": "pending", "trusted": False, "records": [RECORD]}
DELIVERY = {
    "id": "dlv_1",
    "message_id": "msg_1",
    "recipient": "x@b.example",
    "status": "deferred",
    "attempts": 1,
    "next_at": 1_700_000_000_000,
    "lane": "transactional",
    "reply": "451 later\x1b[2J",
}


def test_key_create_prints_the_secret_alone(run: Run, daemon: Daemon) -> None:
    daemon.answers["POST /operator/keys"] = KEY | {"secret": "ph_live_abc"}
    status, out, err = run("key", "create", "app", "--scope", "mail:send", "--scope", "x", "--test", "--expires", "30d")
    assert (status, out) == (0, "ph_live_abc\n")
    assert err == "Key key_1 of default, for mail:send. The secret is not shown again.\n"
    method, path, body = daemon.asked[-1]
    assert (method, path) == ("POST", "/operator/keys")
    assert 0 <= ids.now_ms() + 30 * 86_400_000 - body.pop("expires_at") < 60_000
    assert body == {"org": "default", "name": "app", "scopes": ["mail:send", "x"], "test": True}
    run("key", "create", "app", "--scope", "emails:send", "--domain", "shop.example")
    assert daemon.asked[-1][2]["domain"] == "shop.example"
    status, out, err = run("key", "create", "app", "--org", "shop", "--json")
    assert json.loads(out)["secret"] == "ph_live_abc" and err == ""
    assert daemon.asked[-1][2] == {"org": "shop", "name": "app", "scopes": ["*"], "test": False}


def test_lists_are_tables_or_json_lines_through_every_page(run: Run, daemon: Daemon) -> None:
    other = KEY | {"id": "key_2", "name": "longer name", "scopes": ["*"], "test": True}
    daemon.answers["GET /operator/keys"] = lambda query: (
        page(other) if query.get("cursor") == "c" else {"data": [KEY], "next_cursor": "c"}
    )
    status, out, _ = run("key", "list")
    assert status == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "ID NAME PREFIX SCOPES DOMAIN TEST CREATED EXPIRES LAST USED REVOKED",
        "key_1 app ph_live_ab mail:send - no 2023-11-14T22:13:20Z - - -",
        "key_2 longer name ph_live_ab * - yes 2023-11-14T22:13:20Z - - -",
    ]
    _, out, _ = run("key", "list", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [KEY, other]
    daemon.answers["GET /operator/orgs"] = page()
    assert run("org", "list") == (0, "", "There is no organization.\n")


def test_organizations_and_keys(run: Run, daemon: Daemon) -> None:
    daemon.answers["POST /operator/orgs"] = {"id": "org_2", "name": "shop", "tier": "starter", "created_at": 1}
    daemon.answers["POST /operator/keys/key_1%2F/revoke"] = KEY
    status, out, _ = run("org", "add", "shop", "--tier", "starter")
    assert (status, out) == (0, "org_2\n")
    assert daemon.asked[-1][2] == {"name": "shop", "tier": "starter"}
    assert run("key", "revoke", "key_1/") == (0, "", 'Key key_1 ("app") is revoked.\n')


def test_terms_usage_and_the_end_of_an_organization(run: Run, daemon: Daemon) -> None:
    settings = {"usage": {"allowance": 3000, "cap_cents": None}}
    org = {"id": "org_2", "name": "shop", "tier": "custom", "settings": settings, "created_at": 1}
    daemon.answers["POST /operator/orgs/change"] = daemon.answers["POST /operator/orgs/delete"] = org
    status, out, _ = run("org", "set", "shop", "--allowance", "3000", "--price", "default", "--spend-cap", "none")
    assert (status, out.splitlines()[-1].split()) == (0, ["usage:", "allowance=3000"])
    usage = {"allowance": 3000, "price_per_1000_cents": None, "cap_cents": None}
    assert daemon.asked[-1][2] == {"org": "shop", "usage": usage}
    for word, value in (("on", True), ("off", False)):
        run("org", "set", "shop", "--batching", word)
        assert daemon.asked[-1][2]["batching"] is value
    run("org", "set", "shop", "--rename", "store")
    assert daemon.asked[-1][2] == {"org": "shop", "name": "store"}
    assert run("org", "set", "shop", "--spend-cap", "-5")[0] == 2
    assert run("org", "delete", "shop") == (0, "", 'Organization "shop" is deleted.\n')
    found = {"period": "2026-06", "sent": 12, "allowance": None, "billable": 0, "price_per_1000_cents": 0}
    daemon.answers["GET /operator/usage"] = {**found, "cap_cents": None, "projected_cents": 0}
    _, out, _ = run("org", "usage", "shop", "--period", "2026-06")
    assert [line.split()[-1] for line in out.splitlines()] == ["2026-06", "12", "unlimited", "0", "0", "0"]
    assert daemon.asked[-1][2] == {"org": "shop", "period": "2026-06"}
    daemon.answers["GET /operator/usage"] = {**found, "cap_cents": 500, "projected_cents": 12}
    _, out, _ = run("org", "usage", "shop")
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["cents", "per", "1000:", "0"],
        ["spend", "cap", "cents:", "500"],
        ["projected", "cents:", "12"],
    ]


def test_the_audit_trail_and_a_new_name_for_a_key(run: Run, daemon: Daemon) -> None:
    entry = {"id": "aud_1", "organization_id": "org_1", "actor": "key_1", "action": "key.renamed"}
    entry |= {"resource_id": "key_2", "details": {"name": "web", "before": "app"}, "created_at": 1_700_000_000_000}
    daemon.answers["GET /operator/audit"] = page(entry)
    _, out, _ = run("audit", "--org", "shop")
    line = "2023-11-14T22:13:20Z key_1 key.renamed key_2 name=web, before=app"
    assert " ".join(out.splitlines()[1].split()) == line
    assert json.loads(run("audit", "--json")[1]) == entry
    daemon.answers["POST /operator/keys/key_1/rename"] = KEY | {"name": "web"}
    assert run("key", "rename", "key_1", "web") == (0, "", 'Key key_1 is called "web".\n')


def test_domains(run: Run, daemon: Daemon) -> None:
    at = "/operator/domains"
    for asked in (f"POST {at}", f"GET {at}/a.example/records", f"POST {at}/a.example/verify", f"DELETE {at}/a.example"):
        daemon.answers[asked] = DOMAIN
    daemon.answers[f"POST {at}/a.example/rotate"] = DOMAIN | {"status": "verified", "trusted": True}
    status, out, _ = run("domain", "add", "a.example", "--trust", "--org", "shop")
    assert status == 0
    assert daemon.asked[-1][2] == {"org": "shop", "name": "a.example", "trust": True}
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "a.example: pending",
        "It may send once these are verified: dkim.",
        "",
        "MISSING dkim (required)",
        "type TXT",
        "name s1._domainkey.a.example",
        "value v=DKIM1; p=x",
        r"found v=DKIM1; \x1b[2J",
        "Lets receivers check our signature. The key is another one: replace it by ours.",
    ]
    assert run("domain", "records", "a.example", "--json") == (0, json.dumps(DOMAIN) + "\n", "")
    assert run("domain", "verify", "a.example")[0] == 1  # not yet
    assert run("domain", "rotate", "a.example")[1].startswith("a.example: verified, trusted\n")
    for verb, told in (("disable", "is disabled: mail from it is refused."), ("enable", "is enabled; it is pending.")):
        daemon.answers[f"POST {at}/a.example/{verb}"] = DOMAIN
        assert run("domain", verb, "a.example") == (0, "", f"a.example {told}\n")
    daemon.answers["GET /operator/dns/zone"] = {"zone": "$ORIGIN keys.example.\n"}
    assert run("dns", "zone", "--bare") == (0, "$ORIGIN keys.example.\n", "")
    assert run("domain", "delete", "a.example", "--org", "shop") == (0, "", "a.example is deleted.\n")
    assert daemon.asked[-1] == ("DELETE", f"{at}/a.example", {"org": "shop"})


def test_queue_list_escapes_what_remote_servers_said(run: Run, daemon: Daemon) -> None:
    daemon.answers["GET /operator/queue"] = page(DELIVERY)
    status, out, _ = run("queue", "list", "--status", "deferred", "--older-than", "2h", "--domain", "b.example")
    assert status == 0
    assert "451 later\\x1b[2J" in out and "\x1b" not in out
    asked = {"status": "deferred", "older_than_s": "7200", "domain": "b.example", "limit": "100"}
    assert daemon.asked[-1] == ("GET", "/operator/queue", asked)


def test_queue_show_explain_stats(run: Run, daemon: Daemon) -> None:
    attempt = {"delivery_id": "dlv_1", "number": 1, "outcome": "deferred", "host": "mx.b.example", "reply": "451 later"}
    daemon.answers["GET /operator/queue/msg_1"] = {"deliveries": [DELIVERY], "attempts": [attempt]}
    daemon.answers["GET /operator/queue/dlv_1/explain"] = {"lines": ["Deferred by 451.", "Tried again at 12:00."]}
    daemon.answers["GET /operator/stats"] = {
        "statuses": {"queued": 3},
        "sites": [{"name": "google", "queued": 3, "connections": 1, "state": "open", "retry_at": None}],
    }
    _, out, _ = run("queue", "show", "msg_1")
    assert "recipient:       x@b.example\n" in out and "mx.b.example" in out
    assert run("queue", "explain", "dlv_1")[1] == "Deferred by 451.\nTried again at 12:00.\n"
    _, out, _ = run("queue", "stats")
    assert [line.split() for line in out.splitlines()] == [
        ["STATUS", "DELIVERIES"],
        ["queued", "3"],
        [],
        ["NAME", "QUEUED", "CONNECTIONS", "STATE", "RETRY"],
        ["google", "3", "1", "open", "-"],
    ]


@pytest.mark.parametrize("action", ["hold", "release", "retry", "cancel"])
def test_queue_actions_need_a_selection(run: Run, daemon: Daemon, action: str) -> None:
    daemon.answers[f"POST /operator/queue/{action}"] = {"changed": 2, "skipped": [{"id": "dlv_3", "reason": "final"}]}
    assert run("queue", action)[0] == 2
    assert run("queue", action, "dlv_1", "--all")[0] == 2
    assert run("queue", action, "--older-than", "yesterday")[0] == 2
    assert daemon.asked == []
    assert run("queue", action, "dlv_1", "dlv_3") == (0, f"{action}: 2 changed, 1 skipped\n", "dlv_3: final\n")
    run("queue", action, "--site", "google", "--older-than", "1d")
    run("queue", action, "--all")
    assert [body for _, _, body in daemon.asked] == [
        {"ids": ["dlv_1", "dlv_3"]},
        {"filter": {"site": "google", "older_than_s": 86_400}},
        {"all": True},
    ]
    daemon.answers[f"POST /operator/queue/{action}"] = {"changed": 0, "skipped": []}
    assert run("queue", action, "dlv_9")[0] == 1


def test_send(run: Run, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"id": "msg_1", "status": "queued", "deliveries": [{"recipient": "x@b.example", "status": "queued"}]}
    daemon.answers["POST /operator/send"] = answer
    ends = ("--from", "a@a.example", "--to", "x@b.example", "--to", "y@b.example")
    assert run("send", *ends, "--subject", "Hi", "--text", "") == (0, "msg_1\n", "x@b.example: queued\n")
    sent = {"from": "a@a.example", "to": ["x@b.example", "y@b.example"]}
    assert daemon.asked[-1][2] == {**sent, "org": "default", "subject": "Hi", "text": ""}
    with tempfile.TemporaryFile("w+") as body:
        body.write("from a pipe\n")
        body.seek(0)
        monkeypatch.setattr(sys, "stdin", body)
        assert json.loads(run("send", *ends, "--key", "secret", "--json")[1]) == answer
    assert daemon.asked[-1][2] == {**sent, "key": "secret", "subject": "", "text": "from a pipe\n"}


def test_tail_prints_events_as_they_come(run: Run, daemon: Daemon) -> None:
    event = {"type": "delivery.deferred", "created_at": 1_700_000_000_000, "recipient": "x@b.example"}
    event |= {"resource_id": "dlv_1", "data": {"code": 451, "reason": None}}
    daemon.answers["GET /operator/events"] = ["", event, event]
    status, out, err = run("tail", "--type", "delivery.deferred", "-n", "2", "--no-follow")
    assert (status, err) == (0, "")
    assert out.splitlines() == ["2023-11-14T22:13:20Z  delivery.deferred     x@b.example  code=451"] * 2
    assert daemon.asked[-1][2] == {"type": "delivery.deferred", "limit": "2"}
    assert run("tail", "--json") == (1, (json.dumps(event) + "\n") * 2, "The daemon has stopped.\n")
    assert daemon.asked[-1][2] == {"limit": "10", "follow": "true"}


def test_what_the_daemon_refuses_is_a_sentence(run: Run, daemon: Daemon) -> None:
    refusal = {"error": {"code": "conflict", "message": "There is a domain a.example already.", "field": "name"}}
    daemon.answers["POST /operator/domains"] = (409, refusal)
    assert run("domain", "add", "a.example") == (1, "", "posthouse: There is a domain a.example already.\n")
    daemon.answers["GET /operator/stats"] = (500, ["oops"])
    status, _, err = run("queue", "stats")
    assert (status, err) == (1, "posthouse: The daemon answered 500 without a reason; its log says more.\n")
    daemon.answers["GET /operator/stats"] = ["oops"]
    assert "did not finish its answer" in run("queue", "stats")[2]


def test_without_a_daemon_the_queue_says_how_to_start_it(run: Run, data_dir: Path) -> None:
    told = f"posthouse: No daemon answers at {data_dir}/posthouse.sock. Start it with `posthouse serve`, or name its "
    told += "configuration with --config or POSTHOUSE_CONFIG.\n"
    assert run("queue", "list") == (1, "", told)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A `mta.daemon` whose store is the script."""
    script, module = Daemon(), ModuleType("mta.daemon")

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[None]:
        with script.listening(settings.socket_path):
            yield

    module.__dict__["offline"] = opened
    monkeypatch.setitem(sys.modules, "mta.daemon", module)
    return script


def test_provisioning_works_without_a_daemon(run: Run, data_dir: Path, offline: Daemon) -> None:
    offline.answers["GET /operator/orgs"] = page({"id": "org_1", "name": "default", "tier": "custom", "created_at": 0})
    status, out, _ = run("org", "list")
    assert status == 0 and "default" in out
    assert not (data_dir / "posthouse.sock").exists()
    offline.answers["GET /operator/keys"] = (404, {"error": {"code": "not_found", "message": "No such organization."}})
    assert run("key", "list", "--org", "x") == (1, "", "posthouse: No such organization.\n")


def test_init_writes_what_is_missing_and_may_run_again(
    run: Run, data_dir: Path, offline: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSTHOUSE_DATA_DIR")
    file, store = data_dir / "etc" / "posthouse.toml", data_dir / "d"
    offline.answers["GET /operator/orgs"] = page()
    offline.answers["POST /operator/orgs"] = {}
    offline.answers["GET /operator/keys"] = page()
    offline.answers["POST /operator/keys"] = KEY | {"secret": "ph_live_abc"}
    arguments = ("init", "--config", str(file), "--data-dir", str(store), "--hostname", "mail.example")
    status, out, err = run(*arguments)
    assert (status, out) == (0, "ph_live_abc\n")
    assert f"Now start it: posthouse serve --config {file}" in err
    assert [path for method, path, _ in offline.asked if method == "POST"] == ["/operator/orgs", "/operator/keys"]
    assert {k: v for k, v in tomllib.loads(file.read_text()).items() if v != {}} == {
        "hostname": "mail.example",
        "data_dir": str(store),
        "tiers": {"sandbox": {}, "starter": {}, "verified": {}, "trusted": {}},
    }
    settings = load(file, {})
    assert (settings.hostname, settings.data_dir, settings.limits) == ("mail.example", store, Settings().limits)
    assert store.stat().st_mode & 0o777 == 0o700
    file.write_text(file.read_text() + "# mine\n")
    offline.answers["GET /operator/orgs"] = page({"name": "default"})
    offline.answers["GET /operator/keys"] = page(KEY)
    status, out, err = run(*arguments)
    assert (status, out) == (0, "") and "has a key already" in err and file.read_text().endswith("# mine\n")


def test_serve_hands_checked_settings_to_the_daemon(run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, served = ModuleType("mta.daemon"), list[Settings]()
    module.__dict__["run"] = lambda settings, welcome: served.append(settings)
    monkeypatch.setitem(sys.modules, "mta.daemon", module)
    assert run("serve", "--dev")[0] == 0
    assert served[0].outbound.capture and served[0].data_dir == data_dir
    monkeypatch.setenv("POSTHOUSE_TLS__CERTIFICATE", "/none")
    monkeypatch.setenv("POSTHOUSE_TLS__KEY", "/none")
    status, _, err = run("serve")
    assert status == 1 and len(served) == 1
    assert "environment variable POSTHOUSE_TLS__KEY: tls.key: /none cannot be read" in err


def test_check_config(run: Run, data_dir: Path) -> None:
    assert run("check-config") == (0, "The defaults: no mistakes.\n", "")
    file = data_dir / "posthouse.toml"
    file.write_text("[limits]\nhop = 3\n[tls]\ncertificat = 1\n")
    status, out, err = run("check-config", "--config", str(file))
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        f'posthouse: {file}:2: limits.hop: There is no such setting; did you mean "hops"?',
        f'{file}:4: tls.certificat: There is no such setting; did you mean "certificate"?',
    ]
    status, out, err = run("check-config", "--config", str(file), "--json")
    assert (status, err) == (1, "") and len(json.loads(out)["problems"]) == 2
    file.write_text('[tls]\ncertificate = "/none"\nkey = "/none"\n')
    assert f"{file}:2: tls.certificate: /none cannot be read" in run("check-config", "--config", str(file))[2]


def test_a_dev_server_started_here_is_found(run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHOUSE_DATA_DIR")
    (data_dir / "dev").mkdir()
    (data_dir / "dev" / "secret.key").touch()
    assert "No daemon answers at dev/posthouse.sock" in run("queue", "list")[2]


@pytest.mark.parametrize(
    ("expires", "told"),
    [("soon", '"soon" is neither a span like 30d nor a date'), ("2001-01-01", '"2001-01-01" has passed')],
)
def test_usage_errors_exit_2(run: Run, data_dir: Path, expires: str, told: str) -> None:
    status, out, err = run("key", "create", "app", "--expires", expires)
    assert (status, out) == (2, "") and told in err
    assert run("queue", "list", "--status", "lost")[0] == 2
    assert run("classify", "/none")[0] == 2
    assert run("nonsense")[0] == 2


def test_a_reader_that_leaves_is_no_error(daemon: Daemon, data_dir: Path) -> None:
    daemon.answers["GET /operator/queue"] = page(*[DELIVERY] * 5000)
    environment = os.environ | {"POSTHOUSE_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "mta", "queue", "list", "--limit", "5000", "--json"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout and reader.stderr
        assert json.loads(reader.stdout.readline()) == DELIVERY
        reader.stdout.close()
        assert reader.stderr.read() == ""


def test_only_printable_text_reaches_the_terminal() -> None:
    assert printable("ok \x1b]0;x\x07\r\n\u202eé") == "ok \\x1b]0;x\\x07\\r\\n\\u202eé"
