"""Every metric that is looked up in the database, with its meaning: one process with the recorder
role looks at a time (`record/sampler.py`), and exports what it saw while that is fresh."""

from __future__ import annotations

from service.telemetry.instruments import Look
from service.telemetry.metrics import DRIVERS

STATES = (
    *("ready", "paused", "throttled", "unlinked", "linking", "disconnected", "logged_out"),
    *("incompatible", "error"),
)
REASONS = (
    *("scheduled", "device_rate", "pair", "daily_cap", "quiet_hours", "paused", "not_ready"),
    *("throttled", "held", "behind"),
)
DEVICE_REASONS = (
    *("device_rate", "daily_cap", "quiet_hours", "paused", "not_ready", "throttled", "held"),
)

OUTBOX = Look()
OUTBOX_DEPTH = OUTBOX.gauge(
    "hantar_outbox_depth",
    "Outbox entries waiting, up to 50,000: commands to dispatchers, and public events.",
    kind=("command", "event"),
)
OUTBOX_OLDEST = OUTBOX.gauge(
    "hantar_outbox_oldest_seconds", "Age of the oldest outbox entry.", kind=("command", "event")
)

SHARDS = Look()
SHARDS_BY_STATE = SHARDS.gauge(
    "hantar_shards",
    "Shards whose owner beats; whose owner fell silent; and that nobody owns.",
    state=("owned", "silent", "free"),
)
WORKERS = SHARDS.gauge("hantar_workers", "Dispatchers that entered and did not leave.")

PARKED = Look()
PARKED_MESSAGES = PARKED.gauge(
    "hantar_parked_messages",
    "Messages parked, by why and whether their time has come.",
    reason=REASONS,
    due=("yes", "no"),
)
PARKED_OLDEST = PARKED.gauge(
    "hantar_parked_oldest_seconds",
    "For how long the oldest parked message has been due, by why it waits.",
    reason=REASONS,
)
LAGGING_DEVICES = PARKED.gauge(
    "hantar_lagging_device_seconds",
    "For how long the oldest parked message of a device that may send has been due: the ten "
    "devices where it is longest.",
    device=None,
)
LAGGING_MESSAGES = PARKED.gauge(
    "hantar_lagging_device_messages",
    "Parked messages that are due, of the same ten devices.",
    device=None,
)

DEVICES = Look()
DEVICES_BY_STATE = DEVICES.gauge(
    "hantar_devices", "Devices, by driver and state.", driver=DRIVERS, state=STATES
)
DEVICES_WAITING = DEVICES.gauge(
    "hantar_devices_waiting", "Devices that may not send now, by why.", reason=DEVICE_REASONS
)
DEVICES_SLOWED = DEVICES.gauge(
    "hantar_devices_slowed",
    "Devices that send at less than half their rate, as their provider throttled them.",
    driver=DRIVERS,
)
DEVICES_SILENT = DEVICES.gauge(
    "hantar_devices_silent",
    "Ready devices of which 20 or more of the latest messages were taken and none was delivered "
    "within the time that a callback has.",
    driver=DRIVERS,
)

DOUBTED = Look()
UNCONFIRMED = DOUBTED.gauge(
    "hantar_unconfirmed_messages",
    "Unconfirmed messages: those that a callback may still resolve, and those given up on whose "
    "credit is held.",
    awaits=("callback", "release"),
)
UNCONFIRMED_OLDEST = DOUBTED.gauge(
    "hantar_unconfirmed_oldest_seconds",
    "Age of the oldest unconfirmed message that a callback may still resolve.",
)

BULK = Look()
CAMPAIGNS = BULK.gauge(
    "hantar_campaigns",
    "Campaigns that are not over, by status.",
    status=("scheduled", "dispatching", "paused"),
)
RECIPIENTS_PENDING = BULK.gauge(
    "hantar_campaign_recipients_pending",
    "Recipients of dispatching campaigns that are not messages yet.",
)
CAMPAIGN_IDLE = BULK.gauge(
    "hantar_campaign_idle_seconds",
    "For how long the longest waiting of these campaigns has not been worked on.",
)
IMPORT_ROWS = BULK.gauge("hantar_import_rows_pending", "Rows of imports not worked off yet.")
IMPORT_IDLE = BULK.gauge(
    "hantar_import_idle_seconds",
    "For how long the longest waiting open import has not been worked on.",
)

CALLERS = Look()
WEBHOOKS_DUE = CALLERS.gauge(
    "hantar_webhooks_due", "Webhook deliveries that are due, up to 10,000."
)
WEBHOOKS_OLDEST = CALLERS.gauge(
    "hantar_webhooks_oldest_seconds", "For how long the oldest webhook delivery has been due."
)
WEBHOOK_ENDPOINTS = CALLERS.gauge(
    "hantar_webhook_endpoints",
    "Webhook endpoints: those that take what they are called with, those that refuse it, and those "
    "that were switched off for it.",
    state=("taking", "refusing", "off"),
)
MAILS_OLDEST = CALLERS.gauge(
    "hantar_mails_oldest_seconds", "For how long the oldest verification mail has waited."
)

DATABASE = Look()
DATABASE_CONNECTIONS = DATABASE.gauge(
    "hantar_database_connections", "Connections to PostgreSQL, and the most it takes.",
    state=("active", "idle", "idle_in_transaction", "limit"),
)  # fmt: skip
DATABASE_TRANSACTION = DATABASE.gauge(
    "hantar_database_longest_transaction_seconds", "Age of the oldest transaction."
)
DATABASE_LOCKS = DATABASE.gauge("hantar_database_waiting_locks", "Sessions that wait for a lock.")
DATABASE_BYTES = DATABASE.gauge("hantar_database_bytes", "Size of the database.")
DATABASE_DEAD = DATABASE.gauge(
    "hantar_database_dead_rows", "Rows that VACUUM has to clear, in the table with the most."
)

BOOKS = Look()
ACCOUNTS_DRIFTING = BOOKS.gauge(
    "hantar_credits_drifting_accounts",
    "Accounts whose balance, ledger and messages do not agree: anything but 0 is a defect.",
)
CREDITS_DRIFT = BOOKS.gauge(
    "hantar_credits_drift", "Credits by which these accounts are off, all differences added."
)
