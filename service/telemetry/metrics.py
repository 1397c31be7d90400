"""Every metric that processes count as they work, with its meaning; what has to be looked up in the
database is in `samples.py`. Labels come from closed sets, or from `Few` where others decide."""

from __future__ import annotations

from prometheus_client import GCCollector, ProcessCollector

from service.core.lifecycle import Status
from service.telemetry.instruments import REGISTRY, Few, counter, gauge, histogram

DRIVERS = ("meta", "simulator", "wwebjs")
PRIORITIES = ("high", "normal", "low")
STATUSES = ("2xx", "3xx", "4xx", "5xx")
DOORS = ("http", "amqp")
ROUTING_KEYS = ("message.send", "message.bulk", "campaign.create")
CONNECTIONS = ("publish", "consume")
VERDICTS = (
    *("claimed", "locked", "gone", "cancelled", "expired", "opted_out", "parked", "no_device"),
    *("paused", "not_ready", "held", "quiet_hours", "pair", "new_recipients", "device_rate"),
    "daily_cap",
)
GROUPS = ("callbacks", "claims", "record", "outbox", "parking", "unparking", "webhooks")
LOOKED_AT = (
    *("outbox", "shards", "doubts", "devices", "callers", "parked", "bulk", "database", "books"),
)
#: Why an item of a bulk was refused, and why a command could not be told of to anybody.
REJECTIONS = Few(
    20,
    ("validation_failed", "unknown_field", "invalid_phone", "no_device", "opted_out", "duplicate"),
)
POISONS = Few(
    20,
    (
        *("type", "message_id", "user_id", "content_type", "content_encoding", "payload_too_large"),
        *("account", "forbidden", "invalid_json"),
    ),
)
#: Codes of failures told apart: the drivers' tables have some seventy, and there are our own.
#: Those that a driver knows are there from the start (roles/codes.py).
FAILURES = Few(200)
STOPS = Few(50)
META_CODES = Few(250)
META_KINDS = Few(
    20,
    (
        "status",
        "message",
        "account_update",
        "phone_number_name_update",
        "security",
        "foreign_status",
    ),
)

# The edges have in them, exactly, what deploy/prometheus/slo.yml promises.
_AGE_EDGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_CALL_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STATEMENT_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_GROUP_EDGES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000)

ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# Every process

BUILD = gauge("hantar_build_info", "1, by version and the roles played.", version=None, roles=None)
READY = gauge(
    "hantar_ready",
    "Whether a check of /readyz holds: 0 is why a 202 could not be honoured.",
    check=None,
)
LOOP_LAG = histogram(
    "hantar_event_loop_lag_seconds",
    "How late a timer of the event loop fired: everything else here was as late.",
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
POOL_CONNECTIONS = gauge(
    "hantar_pool_connections",
    "Database connections for requests, by what they do.",
    state=("used", "idle", "limit"),
)
POOL_WAIT = histogram(
    "hantar_pool_wait_seconds",
    "Time until a database connection for requests was free.",
    _STATEMENT_EDGES,
)
GROUP_SIZE = histogram(
    "hantar_group_commit_items", "Items written by one group commit.", _GROUP_EDGES, group=GROUPS
)
GROUP_SECONDS = histogram(
    "hantar_group_commit_seconds",
    "Time of one group commit: how fast the database is; for `callbacks`, the broker.",
    _STATEMENT_EDGES,
    group=GROUPS,
)
BROKER_USABLE = gauge(
    "hantar_broker_usable",
    "Whether what is published or acked now can be expected to arrive.",
    connection=CONNECTIONS,
)
BROKER_BLOCKED = gauge(
    "hantar_broker_blocked",
    "Whether the broker takes nothing from this connection, for an alarm of its own.",
    connection=CONNECTIONS,
)
BROKER_RECONNECTS = counter(
    "hantar_broker_reconnects", "Connections to the broker opened anew.", connection=CONNECTIONS
)
CONSUMERS = gauge(
    "hantar_consumers",
    "Subscriptions at the broker: those that this process wants, and those that it has.",
    state=("wanted", "registered"),
)
PUBLISHED = counter(
    "hantar_outbox_published",
    "Outbox entries offered to the bus, by result.",
    result=("published", "PublishFailed", "PublishTimeout", "Refused", "Unroutable"),
)
PUBLISH_SECONDS = histogram(
    "hantar_publish_seconds", "Time until the bus had an outbox entry, or had not.", _CALL_EDGES
)

# ingress and intake: what comes in

REQUESTS = counter(
    "hantar_http_requests",
    "HTTP requests answered, by route and status class.",
    route=None,
    status=STATUSES,
)
REQUEST_SECONDS = histogram(
    "hantar_http_request_seconds", "Time to answer an HTTP request.", _CALL_EDGES, route=None
)
ACCEPTED = counter("hantar_messages_accepted", "Messages accepted, by door.", door=DOORS)
REJECTED = counter(
    "hantar_messages_rejected", "Messages of bulks refused, by code.", code=REJECTIONS
)
COMMANDS = counter(
    "hantar_commands",
    "Upstream commands settled, by routing key and result.",
    routing_key=ROUTING_KEYS,
    result=("accepted", "rejected", "replayed"),
)
COMMAND_SECONDS = histogram(
    "hantar_command_seconds",
    "Time from the delivery of an upstream command to its answer.",
    _CALL_EDGES,
    routing_key=ROUTING_KEYS,
)
COMMANDS_BURIED = counter(
    "hantar_commands_buried",
    "Upstream commands that nobody could be told about, by reason; those not kept among the dead "
    "ones for their number have kept=no.",
    reason=POISONS,
    kept=("yes", "no"),
)
COMMANDS_DEFERRED = counter(
    "hantar_commands_deferred",
    "Times that an upstream command had to wait for the service, by reason.",
    reason=("unavailable", "idempotency_in_progress", "database", "conflict", "broker"),
)
CALLED_BACK = counter(
    "hantar_callbacks_received",
    "HTTP calls of providers, by driver and whether they were genuine.",
    driver=("meta",),
    result=("taken", "refused"),
)
INBOUND = counter(
    "hantar_inbound_messages",
    "Messages that persons wrote to devices, by whether they came for the first time.",
    result=("new", "repeated"),
)

# dispatcher: what goes out

SHARDS_OWNED = gauge("hantar_shards_owned", "Shard leases held here.")
LEASES_TAKEN = counter("hantar_leases_taken", "Leases taken, by how.", how=("free", "silent"))
LANES = gauge(
    "hantar_lanes",
    "Lanes here that hold messages: those whose device may send, and of these the ones that have "
    "sent nothing for half a minute although they could.",
    state=("runnable", "stalled"),
)
IN_LANES = gauge("hantar_lane_messages", "Messages held in lanes here.")
IN_FLIGHT = gauge("hantar_in_flight", "Messages claimed and without outcome here.")
CLAIMED = counter(
    "hantar_messages_claimed",
    "Messages a dispatcher asked to claim, by verdict.",
    verdict=VERDICTS,
)
LAPSED = counter(
    "hantar_messages_lapsed",
    "Messages claimed and given back, as they could not be called in time.",
)
ORPHANS = counter(
    "hantar_messages_orphaned",
    "Messages found claimed by a dispatcher that is gone, by what became of them.",
    result=("queued", "unconfirmed"),
)
CALLS = counter(
    "hantar_driver_calls",
    "Driver calls, by driver and outcome.",
    driver=DRIVERS,
    outcome=("sent", "failed", "retry", "unconfirmed"),
)
CALL_SECONDS = histogram(
    "hantar_driver_call_seconds",
    "Time from a driver call to its outcome.",
    _CALL_EDGES,
    driver=DRIVERS,
)
AGE_AT_SEND = histogram(
    "hantar_message_age_at_send_seconds",
    "Age of a message when its driver call was made, counted from the time it was due: its "
    "device's pace is in it.",
    _AGE_EDGES,
    priority=PRIORITIES,
)
DELAY = histogram(
    "hantar_message_delay_seconds",
    "For how long a message was not sent although it was due and its device free: what Hantar "
    "itself adds. Only of messages on their first way, which never had to be parked.",
    _AGE_EDGES,
    priority=PRIORITIES,
)
META_ERRORS = counter(
    "hantar_meta_errors",
    "Error codes that Meta answered or called back with; of codes not known here the first ones.",
    code=META_CODES,
)
META_WEBHOOKS = counter(
    "hantar_meta_webhooks_ignored",
    "Parts of Meta's webhooks that nothing is done about, by kind.",
    kind=META_KINDS,
)
BRIDGE_LINES = counter(
    "hantar_bridge_lines_refused",
    "Lines of the wwebjs bridge's events that are malformed: nothing is done about them.",
)

# recorder, and whoever records: what became of it

STATUS = counter(
    "hantar_message_status",
    "Status changes written, by driver and status.",
    driver=DRIVERS,
    status=[status.value for status in Status if status is not Status.SENDING],
)
FAILED = counter(
    "hantar_messages_failed",
    "Messages failed, by driver and reason.",
    driver=DRIVERS,
    reason=FAILURES,
)
CREDITS = counter(
    "hantar_credits_moved",
    "Credits moved in the ledger after they were reserved, by type.",
    type=("settle", "release", "refund"),
)
UNWRITTEN = gauge("hantar_record_unwritten", "Status changes not yet written.")
DOUBTS = counter(
    "hantar_doubts_decided",
    "Unconfirmed messages decided on without a word of their provider, by how.",
    how=("resent", "released"),
)
UNPOINTED = counter(
    "hantar_messages_unpointed",
    "Waiting messages that nothing pointed to any more, found by their age and parked.",
)
DEAD_COMMANDS = counter(
    "hantar_dead_commands",
    "Dispatch commands found dead, by what became of them.",
    result=("parked", "unreadable"),
)
DEVICES_STOPPED = counter(
    "hantar_devices_stopped",
    "Devices taken out of use until somebody resumes them, by why.",
    reason=STOPS,
)
CAMPAIGNS_STOPPED = counter(
    "hantar_campaigns_stopped",
    "Campaigns paused because their template cannot be sent, by why.",
    reason=STOPS,
)
UNANSWERED = counter(
    "hantar_devices_unanswered",
    "Times a device was left alone for a while as call after call got no answer, by driver.",
    driver=DRIVERS,
)
WEBHOOKS = counter(
    "hantar_webhook_calls",
    "Calls of webhook endpoints, by result.",
    result=("delivered", "again", "failed", "disabled"),
)
WEBHOOK_SECONDS = histogram("hantar_webhook_call_seconds", "Time of a webhook call.", _CALL_EDGES)
MAILS = counter(
    "hantar_mails", "Verification mails tried, by result.", result=("sent", "again", "failed")
)
LOOKS = counter(
    "hantar_looks",
    "Looks at the database for the gauges of samples.py, by what was looked at and result.",
    look=LOOKED_AT,
    result=("taken", "failed"),
)
LOOK_SECONDS = histogram(
    "hantar_look_seconds", "Time of such a look.", _STATEMENT_EDGES, look=LOOKED_AT
)
