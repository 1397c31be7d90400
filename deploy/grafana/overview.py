"""Overview: is it me, the broker, the database or WhatsApp? For whom, and since when?"""

from __future__ import annotations

from deploy.grafana.panels import (
    STATEMENTS,
    Board,
    Panel,
    Row,
    last,
    of,
    quantile,
    rate,
    some,
    total,
)

_NOW = Row(
    "",
    [
        Panel(
            "Alerts",
            "Alerts that fire.",
            [
                (
                    "count(count by (alertname) "
                    '(ALERTS{alertname=~"Hantar.*",alertstate="firing"})) or vector(0)',
                    "firing",
                )
            ],
            kind="stat",
            limit=1,
        ),
        Panel(
            "Accepted",
            "Messages accepted a second, by HTTP and AMQP.",
            [(rate("hantar_messages_accepted_total", "job"), "accepted")],
            "mps",
            "stat",
        ),
        Panel(
            "Sent",
            "Driver calls a second that the provider took.",
            [(rate("hantar_driver_calls_total", "job", 'outcome="sent"'), "sent")],
            "mps",
            "stat",
        ),
        Panel(
            "Delivered",
            "Messages a second that reached their person.",
            [(rate("hantar_message_status_total", "job", 'status="delivered"'), "delivered")],
            "mps",
            "stat",
        ),
        Panel(
            "Failed",
            "Messages a second that failed for good.",
            [(rate("hantar_message_status_total", "job", 'status="failed"'), "failed")],
            "mps",
            "stat",
        ),
        Panel(
            "Drift",
            "Accounts whose books do not agree: anything but 0 is a defect.",
            [(last("hantar_credits_drifting_accounts", ""), "accounts")],
            kind="stat",
            limit=1,
            alert="HantarCreditsDrift",
        ),
    ],
)
_ME = Row(
    "Is it me?",
    [
        Panel(
            "Not ready",
            "Checks of /readyz that do not hold, which is why no 202 is given.",
            [(some(f"1 - {of('hantar_ready')}"), "{{instance}} {{check}}")],
            alert="HantarNotReady",
            none="all ready",
        ),
        Panel(
            "Shards",
            "Shards with a dispatcher that beats, with one that fell silent, and without.",
            [(last("hantar_shards", "state"), "{{state}}")],
            kind="stack",
            alert="HantarShardsUnserved",
        ),
        Panel(
            "Event-loop lag, p99",
            "How late everything in a process is.",
            [(quantile(0.99, "hantar_event_loop_lag_seconds", "instance"), "{{instance}}")],
            "s",
            limit=0.25,
            alert="HantarEventLoopLate",
        ),
        Panel(
            "Requests that failed",
            "Answers 5xx a second, by route.",
            [(some(rate("hantar_http_requests_total", "route", 'status="5xx"')), "{{route}}")],
            "reqps",
            alert="HantarBudgetBurnsFast",
            none="none",
        ),
    ],
    [
        "HantarNotReady",
        "HantarProcessDown",
        "HantarShardsUnserved",
        "HantarRecorderMissing",
        "HantarLanesStalled",
        "HantarEventLoopLate",
        "HantarLeasesTakenOver",
        "HantarCommandsDead",
        "HantarMessagesUnpointed",
    ],
)
_BROKER = Row(
    "Is it the broker?",
    [
        Panel(
            "Without a connection",
            "Processes of which nothing that they publish or ack arrives.",
            [(some(f"1 - {of('hantar_broker_usable')}"), "{{instance}} {{connection}}")],
            alert="HantarBrokerUnreachable",
            none="all connected",
        ),
        Panel(
            "Alarm",
            "1: RabbitMQ takes nothing, for want of memory or disk.",
            [(f"max by (connection) ({of('hantar_broker_blocked')})", "{{connection}}")],
            limit=1,
            alert="HantarBrokerAlarm",
        ),
        Panel(
            "Oldest in the outbox",
            "For how long accepted work, and events, have waited to be handed on.",
            [(last("hantar_outbox_oldest_seconds", "kind"), "{{kind}}")],
            "s",
            limit=30,
            alert="HantarOutboxStuck",
        ),
        Panel(
            "Publish, p99",
            "Time until the broker has what is published.",
            [(quantile(0.99, "hantar_publish_seconds"), "p99")],
            "s",
        ),
    ],
    [
        "HantarBrokerUnreachable",
        "HantarBrokerAlarm",
        "HantarOutboxStuck",
        "HantarPublishesFail",
        "HantarConsumersMissing",
    ],
)
_DATABASE = Row(
    "Is it the database?",
    [
        Panel(
            "Statements, p90",
            "Time of a group commit. Above 0.25 s claims lapse.",
            [(quantile(0.9, "hantar_group_commit_seconds", "group", STATEMENTS), "{{group}}")],
            "s",
            limit=0.25,
            alert="HantarDatabaseSlow",
        ),
        Panel(
            "Wait for a connection, p90",
            "Time a request waits for a database connection.",
            [(quantile(0.9, "hantar_pool_wait_seconds", "instance"), "{{instance}}")],
            "s",
            limit=0.25,
            alert="HantarPoolExhausted",
        ),
        Panel(
            "Oldest transaction",
            "Keeps VACUUM from clearing rows.",
            [(last("hantar_database_longest_transaction_seconds", ""), "oldest")],
            "s",
            limit=600,
            alert="HantarTransactionOpen",
        ),
        Panel(
            "Unwritten outcomes",
            "Status changes in memory; above 10,000 nothing is claimed.",
            [(total("hantar_record_unwritten", "instance"), "{{instance}}")],
            limit=5000,
            alert="HantarChangesUnwritten",
        ),
    ],
    [
        "HantarDatabaseSlow",
        "HantarPoolExhausted",
        "HantarTransactionOpen",
        "HantarChangesUnwritten",
    ],
)
_WHATSAPP = Row(
    "Is it WhatsApp?",
    [
        Panel(
            "Calls",
            "Driver calls a second, by outcome.",
            [(rate("hantar_driver_calls_total", "driver, outcome"), "{{driver}} {{outcome}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Time of a call, p99",
            "Until the provider's answer.",
            [(quantile(0.99, "hantar_driver_call_seconds", "driver"), "{{driver}}")],
            "s",
        ),
        Panel(
            "Failures",
            "Messages that failed for good a second, by reason.",
            [
                (
                    some(rate("hantar_messages_failed_total", "driver, reason")),
                    "{{driver}} {{reason}}",
                )
            ],
            "mps",
            none="none",
        ),
        Panel(
            "Devices that cannot send",
            "By state; `error` and `logged_out` wait for a person.",
            [
                (
                    some(last("hantar_devices", "driver, state", 'state!="ready"')),
                    "{{driver}} {{state}}",
                )
            ],
            kind="stack",
            alert="HantarDeviceStopped",
            none="all ready",
        ),
    ],
    [
        "HantarDeviceStopped",
        "HantarDeviceSilent",
        "HantarDeviceThrottled",
        "HantarDeviceDisconnected",
        "HantarCallbacksRefused",
    ],
)
_WHOM = Row(
    "Who else notices?",
    [
        Panel(
            "Devices that lag most",
            "For how long the oldest message of a device that may send has been due.",
            [(last("hantar_lagging_device_seconds", "device"), "device {{device}}")],
            "s",
        ),
        Panel(
            "Delay, p99",
            "What Hantar itself adds: due, device free, and not sent.",
            [(quantile(0.99, "hantar_message_delay_seconds", "priority"), "{{priority}}")],
            "s",
            limit=2.5,
            alert="HantarBudgetBurnsFast",
        ),
        Panel(
            "Unconfirmed",
            "Messages whose outcome nobody knows.",
            [(last("hantar_unconfirmed_messages", "awaits"), "awaiting {{awaits}}")],
            kind="stack",
        ),
        Panel(
            "Webhooks late",
            "For how long the oldest delivery has been due.",
            [(last("hantar_webhooks_oldest_seconds", ""), "oldest")],
            "s",
            limit=300,
            alert="HantarWebhooksLate",
        ),
    ],
    [
        "HantarWebhooksLate",
        "HantarWebhookEndpointRefuses",
        "HantarMailsLate",
        "HantarWorkStandsStill",
        "HantarCreditsDrift",
    ],
)
_BUDGETS = Row(
    "Objectives",
    [
        Panel(
            "Failing, over an hour",
            "The part of events that fail each objective.",
            [("max by (objective) (hantar:slo:errors_1h)", "{{objective}}")],
            "percentunit",
            alert="HantarBudgetBurnsFast",
        ),
        Panel(
            "Budget used in three days",
            "1 is as much as the objective allows.",
            [
                (
                    "max by (objective) (hantar:slo:errors_3d) / on (objective) "
                    "max by (objective) (1 - hantar:slo:target)",
                    "{{objective}}",
                )
            ],
            "percentunit",
            limit=1,
            alert="HantarBudgetBurnsSlowly",
        ),
    ],
    ["HantarBudgetBurnsFast", "HantarBudgetBurnsSlowly"],
)

OVERVIEW = Board(
    "hantar-overview",
    "Hantar: Overview",
    "Is it me, the broker, the database or WhatsApp? For whom, and since when?",
    [_NOW, _ME, _BROKER, _DATABASE, _WHATSAPP, _WHOM, _BUDGETS],
)
