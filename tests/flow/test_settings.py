"""Settings: the file that documents them is true, mistakes are told with their place and the way out."""

from __future__ import annotations

import ast
import stat
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import lines, load
from config.check import file_problems
from config.providers import provider_of, providers
from config.secret_key import read_secret_key
from config.settings import Listener, Route, Section, Settings, host_port
from mta.errors import ConfigError

DEFAULTS = Path(load.__file__).with_name("posthouse.toml")


def loaded(tmp_path: Path, text: str, **env: str) -> Settings:
    file = tmp_path / "posthouse.toml"
    file.write_text(text)
    return load.load(file, env)


def refused(tmp_path: Path, text: str, **env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **env)
    return caught.value.message.replace(str(tmp_path), "DIR")


def paths(kind: type[Section], at: str = "") -> list[str]:
    found = []
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            found += paths(field.type, f"{at}{field.name}.")
        elif field.name not in ("listeners", "routes"):
            found.append(at + field.name)
    return found


def test_the_documented_file_holds_every_setting_with_its_default() -> None:
    text = DEFAULTS.read_text()
    documented = {path for _, path, is_table in lines.keys(text) if not is_table}
    assert documented >= set(paths(Settings))
    assert documented >= {f"listeners[0].{field.name}" for field in msgspec.structs.fields(Listener)}
    example = text.split("# [[outbound.routes]]\n")[1].split("\n\n")[0].replace("# ", "", 1).replace("\n# ", "\n")
    assert set(tomllib.loads(example)) == {field.name for field in msgspec.structs.fields(Route)}
    assert load.build(Settings, tomllib.loads(text), "", []) == Settings()


def test_every_setting_is_read() -> None:
    root = DEFAULTS.parent.parent
    files = [*root.glob("mta/**/*.py"), *root.glob("api/**/*.py"), *root.glob("config/*.py")]
    read = {
        node.attr for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)
    }
    unread = {path for path in paths(Settings) if not path.startswith("tiers.") and path.split(".")[-1] not in read}
    assert unread == set()  # a tier is looked up by its name


def test_every_line_of_the_contract_is_understood(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        hostname = "mail.example.com"
        data_dir = "/var/lib/posthouse"
        bounce_domain = ""
        dns_zone = ""
        [store]
        url = ""
        [[listeners]]
        role = "submission"
        address = "0.0.0.0:587"
        tls = "starttls"
        require_auth = true
        trusted_networks = ["10.0.0.0/8", "::1/128"]
        trusted_org = "default"
        [api]
        address = "127.0.0.1:8025"
        public_url = "https://mail.example.com/"
        [tls]
        certificate = ""
        key = ""
        [dns]
        servers = ["127.0.0.1:5353", "::1", "192.0.2.1"]
        [outbound]
        port = 25
        source_addresses = ["192.0.2.7"]
        [[outbound.routes]]
        domain = "*"
        host = "127.0.0.1"
        port = 2626
        tls = "off"
        [webhooks]
        allow_private = false
        """,
    )
    assert settings.bounce_domain == "mail.example.com"
    assert settings.api.public_url == "https://mail.example.com"
    assert settings.secret_key_file == "/var/lib/posthouse/secret.key"
    assert settings.socket_path == Path("/var/lib/posthouse/posthouse.sock")
    assert settings.listeners[0].trusted_networks == ("10.0.0.0/8", "::1/128")
    assert settings.outbound.routes == (Route(domain="*", host="127.0.0.1", port=2626, tls="off"),)


def test_all_mistakes_are_told_at_once_with_line_and_suggestion(tmp_path: Path) -> None:
    text = 'hostnme = "x"\n[api]\naddress = 3\n\n[[listeners]]\nrole = "submision"\n[limits]\nhops = 0\n'
    told = refused(tmp_path, text, POSTHOUSE_API__ADRESS="x", POSTHOUSE_DNS__SERVERS="1").splitlines()
    assert sorted(told) == [
        'DIR/posthouse.toml:1: hostnme: There is no such setting; did you mean "hostname"?',
        "DIR/posthouse.toml:3: api.address: 3 is not a text in quotes.",
        "DIR/posthouse.toml:5: listeners[0]: `address` is missing.",
        'DIR/posthouse.toml:6: listeners[0].role: "submision" is none of "submission", "inbound"; '
        'did you mean "submission"?',
        "DIR/posthouse.toml:8: limits.hops: 0 is not a whole number above 0.",
        'environment variable POSTHOUSE_API__ADRESS: api.adress: There is no such setting; did you mean "address"?',
        'environment variable POSTHOUSE_DNS__SERVERS: dns.servers: 1 is not a list of texts, like ["a", "b"].',
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('hostname = "a b"', ':1: hostname: "a b" is not a host name; write it like "mail.example.com".'),
        (f'data_dir = "/{"d" * 100}"', "is too long for a socket below it"),
        ("listeners = []", ":1: listeners: There is none; write at least one [[listeners]] table."),
        ('[tls]\ncertificate = "/x"', ":2: tls.certificate: A certificate without a key; set both, or neither"),
        ('[api]\naddress = "8025"', ':2: api.address: "8025" has no port; write it like'),
        ('[api]\npublic_url = "mail"', ':2: api.public_url: "mail" is not a web address'),
        ('[dns]\nservers = ["x:53"]', ':2: dns.servers: "x:53" is not an address'),
        ('[store]\nurl = "mysql://u:secret@h"', ":2: store.url: It starts neither with postgresql://"),
        ("[reputation]\nbounce_watch_percent = 7", "must rise; they are [7.0, 5, 10]"),
        ("[outbound]\nconnections_start = 30", "It is above connections_cap (20)."),
        ('[[outbound.routes]]\ndomain = "*"\nhost = "a:25"', ':3: outbound.routes[0].host: "a:25" is neither'),
        ('[[listeners]]\nrole = "submission"\naddress = "::1:25"', ":3: listeners[0].address:"),
        (
            '[[listeners]]\nrole = "submission"\naddress = "0.0.0.0:25"\nrequire_auth = false',
            ":4: listeners[0].require_auth: Everyone could send through it",
        ),
        (
            '[[listeners]]\nrole = "submission"\naddress = "0.0.0.0:25"\ntrusted_networks = ["10.0.0.1/8"]',
            ':4: listeners[0].trusted_networks: "10.0.0.1/8" is not a network',
        ),
        (
            '[[listeners]]\nrole = "submission"\naddress = "0.0.0.0:25"\ntrusted_networks = ["0.0.0.0/0"]',
            ":4: listeners[0].trusted_networks: 0.0.0.0/0 is everyone",
        ),
        (
            '[[listeners]]\nrole = "inbound"\naddress = "0.0.0.0:25"\n' * 2,
            ":6: listeners[1].address: 0.0.0.0:25 is taken by listeners[0].",
        ),
    ],
)
def test_values_that_make_no_sense(tmp_path: Path, text: str, told: str) -> None:
    message = refused(tmp_path, text)
    assert told in message
    assert "secret" not in message
    assert len(message.splitlines()) == 1


def test_a_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file or directory\. `posthouse init`"):
        load.load(tmp_path / "none.toml", {})
    assert "is not TOML" in refused(tmp_path, "hostname = mail")
    assert "is not TOML" in refused(tmp_path, "a = 1\na = 2")


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@db/posthouse\n")
    settings = loaded(
        tmp_path,
        '[api]\naddress = "127.0.0.1:1"\npublic_url = "https://a.example"\n',
        POSTHOUSE_API__ADDRESS="127.0.0.1:2",
        POSTHOUSE_HOSTNAME="mail.example.net",
        POSTHOUSE_OUTBOUND__CAPTURE="true",
        POSTHOUSE_LIMITS__HOPS="7",
        POSTHOUSE_DNS__SERVERS='["127.0.0.1:53"]',
        POSTHOUSE_OUTBOUND__ROUTES='[{"domain": "*", "host": "127.0.0.1"}]',
        POSTHOUSE_LISTENERS='[{role = "inbound", address = "[::1]:0"}]',
        POSTHOUSE_STORE__URL_FILE=str(secret),
        POSTHOUSE_TIERS__SANDBOX__PER_DAY="9",
        POSTHOUSE_PORT="tcp://10.0.0.1:25",  # what Kubernetes sets for a service called posthouse
        POSTHOUSE_SECRET_KEY_FILE="/k",
    )
    assert (settings.api.address, settings.api.public_url) == ("127.0.0.1:2", "https://a.example")
    assert (settings.hostname, settings.outbound.capture, settings.limits.hops) == ("mail.example.net", True, 7)
    assert settings.dns.servers == ("127.0.0.1:53",)
    assert settings.outbound.routes == (Route(domain="*", host="127.0.0.1"),)
    assert settings.listeners == (Listener(role="inbound", address="[::1]:0"),)
    assert settings.store.url == "postgresql://u:p@db/posthouse"
    assert settings.tiers.sandbox.per_day == 9 and settings.tiers.sandbox.per_hour == 50
    assert settings.secret_key_file == "/k"
    assert "the file of POSTHOUSE_STORE__URL_FILE cannot be read" in refused(
        tmp_path, "", POSTHOUSE_STORE__URL_FILE=str(tmp_path / "none")
    )


def test_posthouse_config_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('hostname = "other.example"')
    assert load.load(None, {"POSTHOUSE_CONFIG": str(file)}).hostname == "other.example"


def dev(data_dir: Path) -> Settings:
    return load.load(None, {"POSTHOUSE_DATA_DIR": str(data_dir)}, dev=True)


def test_dev_keeps_its_promise_whatever_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "posthouse.toml"
    file.write_text(
        'hostname = "mail.example"\n[outbound]\ncapture = false\nport = 26\n[api]\naddress = "0.0.0.0:80"\n'
    )
    settings = load.load(file, {}, dev=True)
    assert settings.outbound.capture and settings.outbound.port == 26
    assert settings.api.address == "127.0.0.1:8025"
    assert settings.hostname == "mail.example"
    settings = dev(tmp_path)
    assert [listener.address for listener in settings.listeners] == ["127.0.0.1:2587", "127.0.0.1:2525"]
    assert settings.data_dir == tmp_path


def test_what_the_file_system_lacks(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path, f'data_dir = "{tmp_path}/posthouse.toml/d"\n[tls]\ncertificate = "/none.crt"\nkey = "/none.key"'
    )
    assert [key for key, _ in file_problems(settings)] == ["tls.certificate", "tls.key", "data_dir"]
    assert file_problems(dev(tmp_path / "a" / "b")) == []


def test_the_secret_key_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    settings = dev(tmp_path / "data")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret_key(settings)
    key = read_secret_key(settings, create=True)
    assert len(key) == 32 and read_secret_key(settings, create=True) == key
    assert stat.S_IMODE(Path(settings.secret_key_file).stat().st_mode) == 0o600
    Path(settings.secret_key_file).write_text("short")
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        read_secret_key(settings, create=True)


def test_a_systemd_credential_is_the_key(tmp_path: Path) -> None:
    (tmp_path / "posthouse.key").write_text("ab" * 32)
    settings = load.load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path), "POSTHOUSE_DATA_DIR": str(tmp_path / "d")})
    assert read_secret_key(settings, create=True) == b"\xab" * 32


@pytest.mark.parametrize(
    ("text", "default", "parsed"),
    [
        ("127.0.0.1:25", None, ("127.0.0.1", 25)),
        ("[::1]:0", None, ("::1", 0)),
        ("192.0.2.1", 53, ("192.0.2.1", 53)),
        ("::1", 53, ("::1", 53)),
        ("[::1]", 53, ("::1", 53)),
        ("mx.example:2525", 25, ("mx.example", 2525)),
    ],
)
def test_host_and_port(text: str, default: int | None, parsed: tuple[str, int]) -> None:
    assert host_port(text, default) == parsed


@given(st.text(max_size=30), st.none() | st.just(53))
def test_host_and_port_of_anything(text: str, default: int | None) -> None:
    try:
        host, port = host_port(text, default)
    except ValueError as error:
        assert str(error).endswith(".")
    else:
        assert host and 0 <= port <= 65535


def test_providers_are_known_by_their_mx_hosts() -> None:
    found = {
        host: provider.name if (provider := provider_of([host])) else None
        for host in (
            "aspmx.l.google.com.",
            "ALT1.aspmx.l.google.com",
            "example-com.mail.protection.outlook.com",
            "mta5.am0.yahoodns.net",
            "mx01.mail.icloud.com",
            "smtp-in.orange.fr",
            "mx.notgoogle.com",
        )
    }
    assert list(found.values()) == ["google", "google", "microsoft", "yahoo", "apple", "orange", None]
    figures = {p.name: (p.connections, p.messages_per_connection, p.tls) for p in providers()}
    assert figures == {
        "google": (5, 50, "require"),
        "microsoft": (5, 50, "opportunistic"),
        "yahoo": (None, 20, "opportunistic"),
        "apple": (10, 5, "opportunistic"),
        "orange": (2, None, "opportunistic"),
    }


def test_a_file_of_an_older_version_still_loads(tmp_path: Path) -> None:
    """What its `posthouse init` wrote, and what did nothing."""
    older = "[limits]\nline_bytes = 998\ncommand_bytes = 2048\nauth_command_bytes = 12_288\nmime_depth = 100\n"
    assert loaded(tmp_path, older + "mime_parts = 1000\nhops = 7\n").limits.hops == 7
