"""The only reader of the environment: every setting, its default and its meaning."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from email.utils import parseaddr
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from service import failpoints
from service.core.addresses import read_networks
from service.core.mail import address_error, read_smtp_url
from service.core.words import OPT_OUT_WORDS, bare

ROLES = ("ingress", "intake", "dispatcher", "recorder")


_PREFIX = "HANTAR_"
#: What `.hantar/demo.env` holds for scripts that call the API, and where tests keep downloads.
_OF_CLIENTS = {"URL", "API_KEY", "CACHE_DIR"}
#: What the bridge of linked devices reads.
_OF_BRIDGE = "BRIDGE_"

_SCHEMES = {"database_url": ("postgresql", "postgres"), "amqp_url": ("amqp", "amqps")}


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what is expected."""


class Settings(BaseSettings):
    """Read once at start, frozen; each field is `HANTAR_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
    )

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL 15 or newer; without it the embedded default is started"
    )
    amqp_url: SecretStr | None = Field(
        None, description="RabbitMQ 3.10 or newer; goes together with the database"
    )
    roles: str = Field(
        ",".join(ROLES), description="what this process does: ingress, intake, dispatcher, recorder"
    )
    listen: str = Field("127.0.0.1:8080", description="host:port of the API")
    ops_listen: str = Field(
        "127.0.0.1:9464", description="host:port of /livez, /readyz and /metrics"
    )
    public_url: str = Field(
        "",
        description="this installation as people's browsers reach it, https://…, for the links it "
        "makes; by default the address of the API",
    )
    data_dir: Path = Field(Path(".hantar"), description="where the embedded default keeps its data")
    shards: int = Field(
        16, ge=1, le=100, description="fixed by the first `hantar migrate`, then only compared"
    )
    lease_seconds: float = Field(
        5.0, ge=0.5, le=60, description="a silent dispatcher's shards are taken over after this"
    )
    doubt_seconds: float = Field(
        120.0, ge=1, description="how long a callback may resolve an unconfirmed message"
    )
    pool_size: int = Field(10, ge=5, le=100, description="database connections for requests")
    secret_key_file: Path | None = Field(
        None,
        description="file of base64 lines of 32 bytes that seal secrets in the database, the first "
        "in use; the embedded default makes its own",
    )
    webhook_allow: str = Field(
        "", description="private networks that outgoing webhooks may reach, in CIDR form"
    )
    inbound_text: Literal["encrypted", "none"] = Field(
        "encrypted",
        description="what is kept of a message that a person writes to a device: its text, sealed, "
        "which events then carry too, or none of it",
    )
    opt_out_words: str = Field(
        "",
        description="words that opt a person out, divided by commas, beside STOP, UNSUBSCRIBE, "
        "BERHENTI and HENTI",
    )
    signup: Literal["open", "closed"] = Field(
        "closed", description="open lets anybody make an account; needs HANTAR_SMTP_URL"
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="smtp://user:password@host:port, or smtps://; needs HANTAR_MAIL_FROM and "
        "HANTAR_PUBLIC_URL",
    )
    mail_from: str | None = Field(None, description="sender of verification mails")
    rate_per_second: float = Field(
        100.0, ge=0.1, le=100_000, description="API requests of one account, in each process"
    )
    rate_burst: int = Field(
        300, ge=1, le=1_000_000, description="API requests of one account at once, after a rest"
    )
    cors_origins: str = Field(
        "",
        description="origins of web pages that may call the API from a browser, divided by commas, "
        "or *",
    )
    trusted_proxies: str = Field(
        "", description="networks of proxies whose X-Forwarded-For is believed, in CIDR form"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto is JSON unless stderr is a terminal"
    )
    unpointed_seconds: float = Field(
        600.0, ge=1, description="waiting rows of this age that nothing points to are parked again"
    )
    test: Literal["on", "off"] = Field("off", description="on allows what only tests may set")
    failpoints: str = Field(
        "", description="tests only: point=kill|raise|sleep:seconds[@nth|%chance/seed], …"
    )
    failpoint_journal: Path | None = Field(
        None, description="tests only: file that each failpoint is noted in when it is hit"
    )
    meta_base_url: str = Field(
        "https://graph.facebook.com", description="where Meta's Graph API is"
    )
    meta_api_version: str = Field(
        "v24.0", pattern=r"^v[0-9]{1,3}\.[0-9]$", description="version of Meta's Graph API"
    )
    simulator_dedupe: Literal["on", "off"] = Field(
        "on", description="off plays a WhatsApp that cannot repeat a send under the same id"
    )
    simulator_latency_ms: int = Field(
        0, ge=0, le=60_000, description="time before the simulated WhatsApp answers"
    )

    wwebjs_bridge: str = Field(
        ".hantar/bridge/bridge.sock",
        pattern=r"^(/|\.|http://[^/]+$)",
        description="the bridge to linked devices: the path of its socket, or http://host:port",
    )
    wwebjs_token_file: str = Field(
        "", description="file of the bridge's token, for http://host:port"
    )

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: str) -> str:
        wanted = [role.strip() for role in value.split(",") if role.strip()]
        unknown = sorted(set(wanted) - set(ROLES))
        if unknown or not wanted:
            raise ValueError(f"must be some of {', '.join(ROLES)}")
        return ",".join(wanted)

    @field_validator("listen", "ops_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) <= 65_535):
            raise ValueError("must be host:port")
        return value

    @field_validator("public_url", "meta_base_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        parts = urlsplit(value) if _is_url(value, ("https", "http")) else None
        if value and not (parts and parts.hostname and not parts.query and "@" not in parts.netloc):
            raise ValueError("must be like https://hantar.example.com")
        return value.rstrip("/")

    @field_validator("webhook_allow", "trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            read_networks(value)
        except ValueError:
            raise ValueError("must be networks like 10.0.0.0/8, divided by commas") from None
        return value

    @field_validator("opt_out_words")
    @classmethod
    def _words_that_show(cls, value: str) -> str:
        if not all(bare(word) for word in _listed(value)):
            raise ValueError("must be words with letters or digits, divided by commas")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_that_browsers_send(cls, value: str) -> str:
        for origin in _listed(value):
            parts = urlsplit(origin)
            if origin != "*" and (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError("must be * or origins like https://app.example.com")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _sound_smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                read_smtp_url(value.get_secret_value())
            except ValueError:
                # The value is not quoted, as it holds a password.
                raise ValueError("must be smtp:// or smtps://user:password@host:port") from None
        return value

    @field_validator("mail_from")
    @classmethod
    def _sound_sender(cls, value: str | None) -> str | None:
        if value is not None and (error := address_error(parseaddr(value)[1])):
            raise ValueError(error)
        return value

    @field_validator("database_url", "amqp_url")
    @classmethod
    def _sound_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        schemes = _SCHEMES[str(info.field_name)]
        if value is not None and not _is_url(value.get_secret_value(), schemes):
            # The value is not quoted, as it holds a password.
            raise ValueError(
                f"must be {schemes[0]}://user:password@host:port/name, with special characters "
                "of the password written as %XX"
            )
        return value

    @field_validator("failpoints")
    @classmethod
    def _rules(cls, value: str) -> str:
        failpoints.read_rules(value)
        return value

    @model_validator(mode="after")
    def _only_in_tests(self) -> Self:
        if self.failpoints and self.test != "on":
            raise ValueError("HANTAR_FAILPOINTS is for tests, and needs HANTAR_TEST=on")
        return self

    @model_validator(mode="after")
    def _servers_go_together(self) -> Self:
        if (self.database_url is None) != (self.amqp_url is None):
            raise ValueError(
                "HANTAR_DATABASE_URL and HANTAR_AMQP_URL go together: set both for real servers, "
                "or none for the embedded default"
            )
        if self.database_url is None and set(self.roles.split(",")) != set(ROLES):
            raise ValueError("HANTAR_ROLES needs real servers: the embedded default is one process")
        return self

    @model_validator(mode="after")
    def _mail_settings_go_together(self) -> Self:
        if self.smtp_url is not None and (self.mail_from is None or not self.public_url):
            raise ValueError("HANTAR_SMTP_URL needs HANTAR_MAIL_FROM and HANTAR_PUBLIC_URL")
        if self.signup == "open" and self.smtp_url is None:
            raise ValueError("HANTAR_SIGNUP=open needs HANTAR_SMTP_URL, as addresses are verified")
        return self

    @property
    def embedded(self) -> bool:
        """Whether everything runs in this process, on a private PostgreSQL."""
        return self.database_url is None

    @property
    def origins(self) -> frozenset[str]:
        """The origins of `cors_origins`."""
        return frozenset(_listed(self.cors_origins))

    @property
    def all_opt_out_words(self) -> list[str]:
        """Every word that opts a person out."""
        return [*OPT_OUT_WORDS, *_listed(self.opt_out_words)]

    @property
    def links_begin(self) -> str:
        """What links to this installation begin with, as far as it is known before listening."""
        host, _, port = self.listen.rpartition(":")
        # Whoever listens everywhere is reached from here by its own address.
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        return self.public_url or f"http://{host}:{port}"

    def has_role(self, role: str) -> bool:
        """Whether this process plays the role."""
        return role in self.roles.split(",")

    def driver_settings(self, driver: str) -> dict[str, str]:
        """The settings named for a driver, without its prefix."""
        prefix = f"{driver}_"
        return {
            name.removeprefix(prefix): str(getattr(self, name))
            for name in type(self).model_fields
            if name.startswith(prefix)
        }


def load(**overrides: object) -> Settings:
    """The settings of this process; `overrides` come from the command line, None is no override."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(fault) for fault in error.errors())) from None


def misspelt(names: Iterable[str] | None = None) -> list[str]:
    """A sentence for each variable (of the environment's) that looks like a setting and is none."""
    known = [name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(os.environ if names is None else names):
        prefix, bare = name[: len(_PREFIX)].upper(), name[len(_PREFIX) :].upper()
        if prefix != _PREFIX or bare in known or bare in _OF_CLIENTS or bare.startswith(_OF_BRIDGE):
            continue
        near = get_close_matches(bare, known, n=1)
        meant = f"; is {_PREFIX}{near[0]} meant?" if near else ""
        sentences.append(f"{name} is no setting and does nothing{meant}")
    return sentences


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and not parts.fragment


def _sentence(fault: object) -> str:
    assert isinstance(fault, dict), "pydantic describes each fault by a mapping"
    message = str(fault["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in fault["loc"])
    return f"HANTAR_{where.upper()}: {message}" if where else message


def split_address(address: str) -> tuple[str, int]:
    """`host:port` in its two parts; an IPv6 host stands in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
