"""Infrastructure: the processes, PostgreSQL and RabbitMQ."""

from __future__ import annotations

from deploy.grafana.panels import STATEMENTS, Board, Panel, Row, last, of, quantile, rate, total

_PROCESSES = Row(
    "Processes",
    [
        Panel(
            "Processor",
            "Cores used by each process; one is all it can use.",
            [(rate("process_cpu_seconds_total", "instance"), "{{instance}}")],
            "none",
            limit=1,
            alert="HantarEventLoopLate",
        ),
        Panel(
            "Memory",
            "Resident.",
            [(total("process_resident_memory_bytes", "instance"), "{{instance}}")],
            "bytes",
        ),
        Panel(
            "Open files",
            "And how many it may have.",
            [
                (total("process_open_fds", "instance"), "{{instance}}"),
                (f"min({of('process_max_fds')})", "limit"),
            ],
        ),
        Panel(
            "Event-loop lag",
            "Half of the time, and all but one of a hundred times.",
            [
                (quantile(0.5, "hantar_event_loop_lag_seconds", "instance"), "{{instance}} p50"),
                (quantile(0.99, "hantar_event_loop_lag_seconds", "instance"), "{{instance}} p99"),
            ],
            "s",
            limit=0.25,
            alert="HantarEventLoopLate",
        ),
        Panel(
            "Up",
            "Whether it answers.",
            [('up{job=~"$job",instance=~"$instance"}', "{{instance}}")],
            alert="HantarProcessDown",
        ),
        Panel(
            "Versions",
            "Processes by version and roles.",
            [(f"count by (version, roles) ({of('hantar_build_info')})", "{{version}} {{roles}}")],
            kind="stack",
        ),
        Panel(
            "Requests",
            "Of all routes a second.",
            [(rate("hantar_http_requests_total", "instance, status"), "{{instance}} {{status}}")],
            "reqps",
            "stack",
        ),
    ],
)
_POSTGRES = Row(
    "PostgreSQL",
    [
        Panel(
            "Connections",
            "To this database, the most the server takes, and those that wait for a lock.",
            [
                (last("hantar_database_connections", "state"), "{{state}}"),
                (last("hantar_database_waiting_locks", ""), "wait for a lock"),
            ],
            alert="HantarDatabaseSlow",
        ),
        Panel(
            "Pool",
            "Connections for requests, by process.",
            [(total("hantar_pool_connections", "instance, state"), "{{instance}} {{state}}")],
            alert="HantarPoolExhausted",
        ),
        Panel(
            "Oldest transaction",
            "Nothing younger is cleared by VACUUM.",
            [(last("hantar_database_longest_transaction_seconds", ""), "oldest")],
            "s",
            limit=600,
            alert="HantarTransactionOpen",
        ),
        Panel(
            "Time of a group commit",
            "Half of them, and nine of ten.",
            [
                (
                    quantile(0.5, "hantar_group_commit_seconds", "group", STATEMENTS),
                    "{{group}} p50",
                ),
                (
                    quantile(0.9, "hantar_group_commit_seconds", "group", STATEMENTS),
                    "{{group}} p90",
                ),
            ],
            "s",
            limit=0.25,
            alert="HantarDatabaseSlow",
        ),
        Panel("Size", "Of the database.", [(last("hantar_database_bytes", ""), "size")], "bytes"),
        Panel(
            "Dead rows",
            "In the table with the most.",
            [(last("hantar_database_dead_rows", ""), "rows")],
        ),
        Panel(
            "Looks for gauges",
            "A second, by result; failed ones leave gaps in these pictures.",
            [(rate("hantar_looks_total", "look, result"), "{{look}} {{result}}")],
            "ops",
            alert="HantarRecorderMissing",
        ),
        Panel(
            "Time of a look, p99",
            "What the gauges cost the database.",
            [(quantile(0.99, "hantar_look_seconds", "look"), "{{look}}")],
            "s",
        ),
    ],
)
_RABBITMQ = Row(
    "RabbitMQ",
    [
        Panel(
            "Messages",
            "In all queues: ready, and in the hands of consumers.",
            [
                ("sum(rabbitmq_queue_messages_ready)", "ready"),
                ("sum(rabbitmq_queue_messages_unacked)", "unacked"),
            ],
            kind="stack",
        ),
        Panel(
            "Flow",
            "Messages received and handed out a second.",
            [
                (
                    "sum(rate(rabbitmq_global_messages_received_total[$__rate_interval]))",
                    "received",
                ),
                (
                    "sum(rate(rabbitmq_global_messages_delivered_total[$__rate_interval]))",
                    "delivered",
                ),
            ],
            "mps",
        ),
        Panel(
            "Memory",
            "Used, and where the alarm begins.",
            [
                ("sum(rabbitmq_process_resident_memory_bytes)", "used"),
                ("sum(rabbitmq_resident_memory_limit_bytes)", "alarm"),
            ],
            "bytes",
            alert="HantarBrokerAlarm",
        ),
        Panel(
            "Disk",
            "Free, and where the alarm begins.",
            [
                ("min(rabbitmq_disk_space_available_bytes)", "free"),
                ("max(rabbitmq_disk_space_available_limit_bytes)", "alarm"),
            ],
            "bytes",
            alert="HantarBrokerAlarm",
        ),
        Panel(
            "Connections and consumers",
            "At the broker.",
            [
                ("sum(rabbitmq_connections)", "connections"),
                ("sum(rabbitmq_consumers)", "consumers"),
            ],
        ),
        Panel(
            "Subscriptions of ours",
            "Those we want and those we have.",
            [(total("hantar_consumers", "state"), "{{state}}")],
            alert="HantarConsumersMissing",
        ),
        Panel(
            "Published",
            "From the outbox a second, by result.",
            [(rate("hantar_outbox_published_total", "result"), "{{result}}")],
            "mps",
            "stack",
            alert="HantarPublishesFail",
        ),
        Panel(
            "Connections opened anew",
            "A second.",
            [
                (
                    rate("hantar_broker_reconnects_total", "instance, connection"),
                    "{{instance}} {{connection}}",
                )
            ],
            "ops",
            alert="HantarBrokerUnreachable",
        ),
    ],
)

INFRASTRUCTURE = Board(
    "hantar-infrastructure",
    "Hantar: Infrastructure",
    "The processes, PostgreSQL and RabbitMQ.",
    [_PROCESSES, _POSTGRES, _RABBITMQ],
)
