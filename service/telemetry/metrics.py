"""Every metric of Hantar, with its meaning. Labels come from closed sets only."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_AGE_EDGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)
_CALL_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GROUP_EDGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000)

REQUESTS = Counter(
    "hantar_http_requests",
    "HTTP requests answered, by route and status class.",
    ["route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "hantar_http_request_seconds",
    "Time to answer an HTTP request.",
    ["route"],
    registry=REGISTRY,
    buckets=_CALL_EDGES,
)
ACCEPTED = Counter(
    "hantar_messages_accepted", "Messages accepted, by door.", ["door"], registry=REGISTRY
)
REJECTED = Counter(
    "hantar_messages_rejected", "Messages refused, by code.", ["code"], registry=REGISTRY
)
COMMANDS = Counter(
    "hantar_commands",
    "Upstream commands settled, by routing key and result.",
    ["routing_key", "result"],
    registry=REGISTRY,
)
COMMAND_SECONDS = Histogram(
    "hantar_command_seconds",
    "Time from the delivery of an upstream command to its answer.",
    ["routing_key"],
    registry=REGISTRY,
    buckets=_CALL_EDGES,
)
COMMANDS_BURIED = Counter(
    "hantar_commands_buried",
    "Upstream commands that nobody could be told about, by reason; those not kept among the dead "
    "ones for their number have kept=no.",
    ["reason", "kept"],
    registry=REGISTRY,
)
COMMANDS_DEFERRED = Counter(
    "hantar_commands_deferred",
    "Times that an upstream command had to wait for the service, by reason.",
    ["reason"],
    registry=REGISTRY,
)
CLAIMED = Counter(
    "hantar_messages_claimed",
    "Messages a dispatcher asked to claim, by verdict.",
    ["verdict"],
    registry=REGISTRY,
)
LAPSED = Counter(
    "hantar_messages_lapsed",
    "Messages claimed and given back, as they could not be called in time.",
    registry=REGISTRY,
)
CALLS = Counter(
    "hantar_driver_calls",
    "Driver calls, by driver and outcome.",
    ["driver", "outcome"],
    registry=REGISTRY,
)
CALL_SECONDS = Histogram(
    "hantar_driver_call_seconds",
    "Time from a driver call to its outcome.",
    ["driver"],
    registry=REGISTRY,
    buckets=_CALL_EDGES,
)
META_ERRORS = Counter(
    "hantar_meta_errors",
    "Error codes that Meta answered or called back with; of codes not known here the first 50.",
    ["code"],
    registry=REGISTRY,
)
META_WEBHOOKS = Counter(
    "hantar_meta_webhooks_ignored",
    "Parts of Meta's webhooks that nothing is done about, by kind.",
    ["kind"],
    registry=REGISTRY,
)
CALLED_BACK = Counter(
    "hantar_callbacks_received",
    "HTTP calls of providers, by driver and whether they were genuine.",
    ["driver", "result"],
    registry=REGISTRY,
)
INBOUND = Counter(
    "hantar_inbound_messages",
    "Messages that persons wrote to devices, by whether they came for the first time.",
    ["result"],
    registry=REGISTRY,
)
AGE_AT_SEND = Histogram(
    "hantar_message_age_at_send_seconds",
    "Age of a message when its driver call was made, counted from the time it was due.",
    ["priority"],
    registry=REGISTRY,
    buckets=_AGE_EDGES,
)
STATUS = Counter(
    "hantar_message_status",
    "Status changes written, by driver and status.",
    ["driver", "status"],
    registry=REGISTRY,
)
CREDITS = Counter(
    "hantar_credits_moved", "Credits moved in the ledger, by type.", ["type"], registry=REGISTRY
)
GROUP_SIZE = Histogram(
    "hantar_group_commit_items",
    "Items written by one group commit.",
    ["group"],
    registry=REGISTRY,
    buckets=_GROUP_EDGES,
)
PUBLISHED = Counter(
    "hantar_outbox_published",
    "Outbox entries offered to the bus, by result.",
    ["result"],
    registry=REGISTRY,
)
DEAD_COMMANDS = Counter(
    "hantar_dead_commands",
    "Dispatch commands found dead, by what became of them.",
    ["result"],
    registry=REGISTRY,
)
DEVICES_STOPPED = Counter(
    "hantar_devices_stopped",
    "Devices taken out of use until somebody resumes them, by why.",
    ["reason"],
    registry=REGISTRY,
)
WEBHOOKS = Counter(
    "hantar_webhook_calls",
    "Calls of webhook endpoints, by result.",
    ["result"],
    registry=REGISTRY,
)
WEBHOOK_SECONDS = Histogram(
    "hantar_webhook_call_seconds",
    "Time of a webhook call.",
    registry=REGISTRY,
    buckets=_CALL_EDGES,
)
WEBHOOKS_DUE = Gauge(
    "hantar_webhooks_due", "Webhook deliveries that are due, up to 10,000.", registry=REGISTRY
)
WEBHOOKS_OLDEST = Gauge(
    "hantar_webhooks_oldest_seconds",
    "For how long the oldest webhook delivery has been due.",
    registry=REGISTRY,
)
MAILS = Counter(
    "hantar_mails", "Verification mails tried, by result.", ["result"], registry=REGISTRY
)
MAILS_OLDEST = Gauge(
    "hantar_mails_oldest_seconds",
    "For how long the oldest verification mail has waited.",
    registry=REGISTRY,
)
OUTBOX_DEPTH = Gauge("hantar_outbox_depth", "Outbox entries waiting.", registry=REGISTRY)
OUTBOX_OLDEST = Gauge(
    "hantar_outbox_oldest_seconds", "Age of the oldest outbox entry.", registry=REGISTRY
)
SHARDS_OWNED = Gauge("hantar_shards_owned", "Shard leases held here.", registry=REGISTRY)
LEASES_TAKEN = Counter("hantar_leases_taken", "Leases taken, by how.", ["how"], registry=REGISTRY)
IN_LANES = Gauge("hantar_lane_messages", "Messages held in lanes here.", registry=REGISTRY)
IN_FLIGHT = Gauge(
    "hantar_in_flight", "Messages claimed and without outcome here.", registry=REGISTRY
)
UNWRITTEN = Gauge("hantar_record_unwritten", "Status changes not yet written.", registry=REGISTRY)
