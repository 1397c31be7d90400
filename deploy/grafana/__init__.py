"""Grafana's dashboards, written as code; `make dashboards` writes their JSON anew."""
