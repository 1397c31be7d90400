"""Bulk and campaigns: what comes in, how far it is, and who is told."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Row, last, quantile, rate, some

_ROUTES = 'route=~"/api/v1/(messages/send|messages/bulk|campaigns)"'
_IN = Row(
    "Coming in",
    [
        Panel(
            "Requests",
            "That bring messages, a second.",
            [
                (
                    rate("hantar_http_requests_total", "route, status", _ROUTES),
                    "{{route}} {{status}}",
                )
            ],
            "reqps",
            "stack",
        ),
        Panel(
            "Time to answer, p99",
            "Of these requests.",
            [(quantile(0.99, "hantar_http_request_seconds", "route", _ROUTES), "{{route}}")],
            "s",
            alert="HantarBudgetBurnsFast",
        ),
        Panel(
            "Accepted",
            "Messages a second, by door.",
            [(rate("hantar_messages_accepted_total", "door"), "{{door}}")],
            "mps",
            "stack",
        ),
        Panel(
            "Rejected",
            "Items of bulks a second, by code.",
            [(some(rate("hantar_messages_rejected_total", "code")), "{{code}}")],
            "mps",
            "stack",
            none="none",
        ),
    ],
)
_COMMANDS = Row(
    "Commands over AMQP",
    [
        Panel(
            "Commands",
            "Settled a second.",
            [(rate("hantar_commands_total", "routing_key, result"), "{{routing_key}} {{result}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Time to answer, p99",
            "From the delivery of a command.",
            [(quantile(0.99, "hantar_command_seconds", "routing_key"), "{{routing_key}}")],
            "s",
        ),
        Panel(
            "Deferred",
            "Times that a command had to wait for us, a second.",
            [(some(rate("hantar_commands_deferred_total", "reason")), "{{reason}}")],
            "ops",
            alert="HantarOutboxStuck",
            none="none",
        ),
        Panel(
            "Buried",
            "What was no command, a second.",
            [
                (
                    some(rate("hantar_commands_buried_total", "reason, kept")),
                    "{{reason}} kept={{kept}}",
                )
            ],
            "ops",
            none="none",
        ),
    ],
)
_WORK = Row(
    "Campaigns and imports",
    [
        Panel(
            "Campaigns",
            "That are not over.",
            [(last("hantar_campaigns", "status"), "{{status}}")],
            kind="stack",
        ),
        Panel(
            "Campaigns stopped",
            "A second, as their template cannot be sent.",
            [(some(rate("hantar_campaigns_stopped_total", "reason")), "{{reason}}")],
            "ops",
            none="none",
        ),
        Panel(
            "To come",
            "Recipients of dispatching campaigns that are not messages yet, and rows of imports.",
            [
                (last("hantar_campaign_recipients_pending", ""), "recipients"),
                (last("hantar_import_rows_pending", ""), "import rows"),
            ],
        ),
        Panel(
            "Untouched for",
            "The longest waiting campaign and import.",
            [
                (last("hantar_campaign_idle_seconds", ""), "campaign"),
                (last("hantar_import_idle_seconds", ""), "import"),
            ],
            "s",
            limit=300,
            alert="HantarWorkStandsStill",
        ),
    ],
)
_OUT = Row(
    "Going out",
    [
        Panel(
            "Age at send, low priority",
            "Bulks and campaigns, since they were due.",
            [
                (quantile(0.5, "hantar_message_age_at_send_seconds", "", 'priority="low"'), "p50"),
                (quantile(0.99, "hantar_message_age_at_send_seconds", "", 'priority="low"'), "p99"),
            ],
            "s",
        ),
        Panel(
            "Statuses",
            "Changes written a second, by driver.",
            [(rate("hantar_message_status_total", "driver, status"), "{{driver}} {{status}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Credits",
            "Moved a second, after they were reserved.",
            [(rate("hantar_credits_moved_total", "type"), "{{type}}")],
            "ops",
        ),
        Panel(
            "Credits off",
            "By which the books do not agree.",
            [(last("hantar_credits_drift", ""), "credits")],
            limit=1,
            alert="HantarCreditsDrift",
        ),
    ],
)
_TOLD = Row(
    "Who is told",
    [
        Panel(
            "Webhook calls",
            "A second, by result.",
            [(rate("hantar_webhook_calls_total", "result"), "{{result}}")],
            "reqps",
            "stack",
            alert="HantarWebhookEndpointRefuses",
        ),
        Panel(
            "Time of a webhook call, p99",
            "Until the endpoint's answer.",
            [(quantile(0.99, "hantar_webhook_call_seconds"), "p99")],
            "s",
        ),
        Panel(
            "Webhooks due",
            "Deliveries.",
            [(last("hantar_webhooks_due", ""), "due")],
            alert="HantarWebhooksLate",
        ),
        Panel(
            "Webhook endpoints",
            "By whether they take what they are called with.",
            [(last("hantar_webhook_endpoints", "state"), "{{state}}")],
            kind="stack",
            alert="HantarWebhookEndpointRefuses",
        ),
        Panel(
            "Events in the outbox",
            "Waiting to be published.",
            [(last("hantar_outbox_depth", "kind", 'kind="event"'), "{{kind}}")],
            alert="HantarOutboxStuck",
        ),
        Panel(
            "Verification mails",
            "Tried a second, by result.",
            [(rate("hantar_mails_total", "result"), "{{result}}")],
            "ops",
        ),
        Panel(
            "Oldest mail",
            "For how long it has waited.",
            [(last("hantar_mails_oldest_seconds", ""), "oldest")],
            "s",
            limit=900,
            alert="HantarMailsLate",
        ),
    ],
)

BULK = Board(
    "hantar-bulk",
    "Hantar: Bulk and campaigns",
    "What comes in, how far it is, and who is told.",
    [_IN, _COMMANDS, _WORK, _OUT, _TOLD],
)
