"""The main job on private servers: bulks over HTTP, until every message is sent and written.

`make bench` runs all of it. `installation.py` starts servers and roles, `accounting.py` asks the
operating system, PostgreSQL and RabbitMQ what the work cost, `rounds.py` and `waits.py` measure,
`report.py` writes `results.json`, the table and the plots of deploy/performance.md.
"""
