"""Dispatch: devices, lanes, budgets, and why messages wait."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Row, last, mean, quantile, rate, some, total

_DEVICES = Row(
    "Devices",
    [
        Panel(
            "Devices by state",
            "All devices.",
            [(some(last("hantar_devices", "driver, state")), "{{driver}} {{state}}")],
            kind="stack",
            alert="HantarDeviceDisconnected",
            none="no device",
        ),
        Panel(
            "Devices that may not send, and why",
            "A budget used up, quiet hours, a pause, a hold; and those that send at less than half "
            "their rate, as their provider throttled them.",
            [
                (some(last("hantar_devices_waiting", "reason")), "{{reason}}"),
                (some(last("hantar_devices_slowed", "driver")), "{{driver}} slowed"),
            ],
            kind="stack",
            alert="HantarDeviceThrottled",
            none="all may",
        ),
        Panel(
            "Silent devices",
            "They take messages and deliver none.",
            [(last("hantar_devices_silent", "driver"), "{{driver}}")],
            limit=1,
            alert="HantarDeviceSilent",
        ),
        Panel(
            "Taken out of use",
            "Times so far: left alone for a while, as call after call got no answer, and stopped "
            "until somebody resumes them, by reason.",
            [
                (total("hantar_devices_unanswered_total", "driver"), "{{driver}} left alone"),
                (some(total("hantar_devices_stopped_total", "reason")), "{{reason}}"),
            ],
            alert="HantarDeviceStopped",
        ),
    ],
)
_WAITING = Row(
    "What waits, and why",
    [
        Panel(
            "Due and waiting",
            "Parked messages whose time has come.",
            [(some(last("hantar_parked_messages", "reason", 'due="yes"')), "{{reason}}")],
            kind="stack",
            none="nothing waits",
        ),
        Panel(
            "Not yet due",
            "Parked for later: schedules, retries, pairs.",
            [(some(last("hantar_parked_messages", "reason", 'due="no"')), "{{reason}}")],
            kind="stack",
            none="nothing waits",
        ),
        Panel(
            "Oldest due",
            "For how long, by reason.",
            [(some(last("hantar_parked_oldest_seconds", "reason")), "{{reason}}")],
            "s",
            none="nothing waits",
        ),
        Panel(
            "Backlog of the devices that lag most",
            "Messages that are due and their device may send.",
            [(last("hantar_lagging_device_messages", "device"), "device {{device}}")],
        ),
    ],
)
_LANES = Row(
    "Lanes and leases",
    [
        Panel(
            "Lanes",
            "Lanes with messages; stalled ones could send and do not.",
            [(total("hantar_lanes", "state"), "{{state}}")],
            alert="HantarLanesStalled",
        ),
        Panel(
            "In lanes and in flight",
            "Messages in hand.",
            [
                (total("hantar_lane_messages", ""), "in lanes"),
                (total("hantar_in_flight", ""), "in flight"),
            ],
            kind="stack",
        ),
        Panel(
            "Shards held",
            "By process; they share evenly.",
            [
                (total("hantar_shards_owned", "instance"), "{{instance}}"),
                (last("hantar_workers", ""), "dispatchers"),
            ],
        ),
        Panel(
            "Leases taken",
            "A second; `silent` are take-overs.",
            [(rate("hantar_leases_taken_total", "how"), "{{how}}")],
            "ops",
            alert="HantarLeasesTakenOver",
        ),
    ],
)
_CLAIMS = Row(
    "Claims",
    [
        Panel(
            "Verdicts",
            "What became of messages asked for, a second.",
            [(rate("hantar_messages_claimed_total", "verdict"), "{{verdict}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Items of a commit",
            "The mean, by group: more when busy, and that is good.",
            [(mean("hantar_group_commit_items", "group"), "{{group}}")],
        ),
        Panel(
            "Lapsed",
            "Claimed and given back as they could not be called in time, a second.",
            [(rate("hantar_messages_lapsed_total", "job"), "lapsed")],
            "ops",
            alert="HantarDatabaseSlow",
        ),
        Panel(
            "Orphaned",
            "Claims of dead dispatchers, by what became of their messages, a second.",
            [(rate("hantar_messages_orphaned_total", "result"), "{{result}}")],
            "ops",
        ),
    ],
)
_CALLS = Row(
    "Calls and ages",
    [
        Panel(
            "Calls",
            "A second, by driver and outcome.",
            [(rate("hantar_driver_calls_total", "driver, outcome"), "{{driver}} {{outcome}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Time of a call",
            "Half of them, and all but one of a hundred.",
            [
                (quantile(0.5, "hantar_driver_call_seconds", "driver"), "{{driver}} p50"),
                (quantile(0.99, "hantar_driver_call_seconds", "driver"), "{{driver}} p99"),
            ],
            "s",
        ),
        Panel(
            "Age at send, p99",
            "Since it was due; the pace of its device is in it.",
            [(quantile(0.99, "hantar_message_age_at_send_seconds", "priority"), "{{priority}}")],
            "s",
        ),
        Panel(
            "Delay, p50",
            "What Hantar itself adds, for half of the messages.",
            [(quantile(0.5, "hantar_message_delay_seconds", "priority"), "{{priority}}")],
            "s",
        ),
    ],
)
_RECORD = Row(
    "What became of them",
    [
        Panel(
            "Statuses",
            "Changes written a second.",
            [(rate("hantar_message_status_total", "status"), "{{status}}")],
            "ops",
            "stack",
        ),
        Panel(
            "Oldest unconfirmed",
            "That a callback may still resolve.",
            [(last("hantar_unconfirmed_oldest_seconds", ""), "oldest")],
            "s",
        ),
        Panel(
            "Decided without a word",
            "Unconfirmed messages sent once more, or whose credit went back, a second.",
            [(rate("hantar_doubts_decided_total", "how"), "{{how}}")],
            "ops",
        ),
        Panel(
            "Found again",
            "Messages that had been lost from queues, and commands that died, a second.",
            [
                (rate("hantar_messages_unpointed_total", "job"), "unpointed"),
                (rate("hantar_dead_commands_total", "result"), "dead, {{result}}"),
            ],
            "ops",
            alert="HantarMessagesUnpointed",
        ),
    ],
)
_CALLBACKS = Row(
    "Callbacks",
    [
        Panel(
            "Calls of providers",
            "To /webhooks/…, a second, and whether they were genuine.",
            [(rate("hantar_callbacks_received_total", "driver, result"), "{{driver}} {{result}}")],
            "reqps",
            alert="HantarCallbacksRefused",
        ),
        Panel(
            "Messages from persons",
            "A second.",
            [(rate("hantar_inbound_messages_total", "result"), "{{result}}")],
            "mps",
        ),
        Panel(
            "Meta's error codes",
            "In answers and callbacks, a second.",
            [(some(rate("hantar_meta_errors_total", "code")), "{{code}}")],
            "ops",
            none="none",
        ),
        Panel(
            "What is left aside",
            "Parts of Meta's webhooks that nothing is done about, by kind, and lines of the bridge "
            "that are malformed, a second.",
            [
                (some(rate("hantar_meta_webhooks_ignored_total", "kind")), "{{kind}}"),
                (some(rate("hantar_bridge_lines_refused_total", "job")), "bridge, malformed"),
            ],
            "ops",
            none="none",
        ),
    ],
)

DISPATCH = Board(
    "hantar-dispatch",
    "Hantar: Dispatch",
    "Devices, lanes, budgets, and why messages wait.",
    [_DEVICES, _WAITING, _LANES, _CLAIMS, _CALLS, _RECORD, _CALLBACKS],
)
