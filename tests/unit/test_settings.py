from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from service.settings import Settings, SettingsError, load, misspelt, split_address

SERVERS = {
    "HANTAR_DATABASE_URL": "postgresql://hantar:sesame-1@db/hantar",
    "HANTAR_AMQP_URL": "amqp://hantar:sesame-2@broker/",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HANTAR_")]:
        monkeypatch.delenv(name)


def loaded(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load()


def test_without_any_setting_everything_runs_embedded_on_loopback() -> None:
    settings = load()
    assert settings.embedded
    assert all(settings.has_role(role) for role in ("ingress", "intake", "dispatcher", "recorder"))
    assert settings.listen.startswith("127.0.0.1:")
    assert settings.ops_listen.startswith("127.0.0.1:")


def test_with_servers_it_is_not_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, SERVERS | {"HANTAR_ROLES": "ingress, recorder"})
    assert not settings.embedded
    assert settings.roles == "ingress,recorder"
    assert settings.has_role("recorder")
    assert not settings.has_role("dispatcher")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"HANTAR_SHARDS": "0"}, "HANTAR_SHARDS: .*greater than or equal to 1"),
        ({"HANTAR_SHARDS": "101"}, "HANTAR_SHARDS: .*less than or equal to 100"),
        ({"HANTAR_SHARDS": "many"}, "HANTAR_SHARDS: .*integer"),
        ({"HANTAR_LEASE_SECONDS": "0.1"}, "HANTAR_LEASE_SECONDS: "),
        ({"HANTAR_DOUBT_SECONDS": "0"}, "HANTAR_DOUBT_SECONDS: "),
        ({"HANTAR_DOUBT_SECONDS": "inf"}, "HANTAR_DOUBT_SECONDS: .*finite"),
        ({"HANTAR_UNPOINTED_SECONDS": "Infinity"}, "HANTAR_UNPOINTED_SECONDS: .*finite"),
        ({"HANTAR_POOL_SIZE": "4"}, "HANTAR_POOL_SIZE: "),
        ({"HANTAR_LOG_LEVEL": "loud"}, "HANTAR_LOG_LEVEL: .*'debug'"),
        ({"HANTAR_RATE_PER_SECOND": "nan"}, "HANTAR_RATE_PER_SECOND: "),
        ({"HANTAR_RATE_BURST": "0"}, "HANTAR_RATE_BURST: "),
        ({"HANTAR_CORS_ORIGINS": "app.example.com"}, "HANTAR_CORS_ORIGINS: must be .* origins"),
        ({"HANTAR_CORS_ORIGINS": "https://a.example/"}, "HANTAR_CORS_ORIGINS: must be .* origins"),
        ({"HANTAR_TRUSTED_PROXIES": "proxy"}, "HANTAR_TRUSTED_PROXIES: must be networks"),
        ({"HANTAR_PUBLIC_URL": "hantar.example.com"}, "HANTAR_PUBLIC_URL: must be like https"),
        ({"HANTAR_PUBLIC_URL": "ftp://a.example"}, "HANTAR_PUBLIC_URL: must be like https"),
        ({"HANTAR_PUBLIC_URL": "https://"}, "HANTAR_PUBLIC_URL: must be like https"),
        ({"HANTAR_PUBLIC_URL": "https://a.example/?a=b"}, "HANTAR_PUBLIC_URL: must be like https"),
        ({"HANTAR_PUBLIC_URL": "https://me@a.example"}, "HANTAR_PUBLIC_URL: must be like https"),
        ({"HANTAR_META_BASE_URL": "a.example"}, "HANTAR_META_BASE_URL: must be like https"),
        ({"HANTAR_LISTEN": "8080"}, "HANTAR_LISTEN: must be host:port"),
        ({"HANTAR_LISTEN": ":8080"}, "HANTAR_LISTEN: must be host:port"),
        ({"HANTAR_LISTEN": "127.0.0.1:http"}, "HANTAR_LISTEN: must be host:port"),
        ({"HANTAR_OPS_LISTEN": "127.0.0.1:65536"}, "HANTAR_OPS_LISTEN: must be host:port"),
        (SERVERS | {"HANTAR_ROLES": "ingress,cook"}, "HANTAR_ROLES: must be some of ingress"),
        (SERVERS | {"HANTAR_ROLES": " , "}, "HANTAR_ROLES: must be some of ingress"),
        ({"HANTAR_ROLES": "ingress"}, "HANTAR_ROLES needs real servers"),
        ({"HANTAR_AMQP_URL": "amqp://broker/"}, "HANTAR_DATABASE_URL and HANTAR_AMQP_URL go"),
        ({"HANTAR_DATABASE_URL": "postgresql://db/"}, "HANTAR_DATABASE_URL and HANTAR_AMQP_URL go"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{sentence}"):
        loaded(monkeypatch, environment)


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as raised:
        loaded(monkeypatch, {"HANTAR_SHARDS": "0", "HANTAR_LISTEN": "nowhere"})
    assert "HANTAR_SHARDS" in str(raised.value)
    assert "HANTAR_LISTEN" in str(raised.value)


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANTAR_SHARDS", "8")
    monkeypatch.setenv("HANTAR_LISTEN", "127.0.0.1:1")
    settings = load(shards=None, listen="127.0.0.1:2")
    assert (settings.shards, settings.listen) == (8, "127.0.0.1:2")


def test_no_secret_is_shown_nor_told_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, SERVERS)
    assert "sesame" not in repr(settings) + str(settings) + str(settings.database_url)
    monkeypatch.delenv("HANTAR_AMQP_URL")
    monkeypatch.setenv("HANTAR_SHARDS", "x")
    with pytest.raises(SettingsError) as raised:
        load()
    assert "sesame" not in str(raised.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().shards = 3


def test_a_driver_is_given_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch, {"HANTAR_SIMULATOR_LATENCY_MS": "40"})
    assert settings.driver_settings("simulator") == {"dedupe": "on", "latency_ms": "40"}
    assert settings.driver_settings("unheard_of") == {}


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("host:1", ("host", 1))],
)
def test_an_address_has_two_parts(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


def test_a_misspelt_setting_is_told_with_the_one_that_is_near() -> None:
    assert misspelt(["HANTAR_DATABSE_URL", "HANTAR_XYZZY", "PATH", "hantar_shard"]) == [
        "HANTAR_DATABSE_URL is no setting and does nothing; is HANTAR_DATABASE_URL meant?",
        "HANTAR_XYZZY is no setting and does nothing",
        "hantar_shard is no setting and does nothing; is HANTAR_SHARDS meant?",
    ]
    assert misspelt(["HANTAR_LISTEN", "hantar_listen", "HANTAR_URL", "HANTAR_API_KEY"]) == []
    assert misspelt(["HANTAR_BRIDGE_FOLDER", "HANTAR_BRIDGE_LISTEN"]) == []


def test_origins_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HANTAR_CORS_ORIGINS": "https://app.example.com, http://localhost:3000"}
    origins = loaded(monkeypatch, given).origins
    assert origins == {"https://app.example.com", "http://localhost:3000"}


@pytest.mark.parametrize(
    ("environment", "beginning"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"HANTAR_LISTEN": "0.0.0.0:80"}, "http://127.0.0.1:80"),
        ({"HANTAR_LISTEN": "[::]:80"}, "http://[::1]:80"),
        ({"HANTAR_PUBLIC_URL": "https://hantar.example.com/"}, "https://hantar.example.com"),
        ({"HANTAR_PUBLIC_URL": "https://a.example/hantar"}, "https://a.example/hantar"),
    ],
)
def test_links_begin_where_browsers_reach_us(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], beginning: str
) -> None:
    assert loaded(monkeypatch, environment).links_begin == beginning
