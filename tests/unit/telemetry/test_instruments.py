"""Labels whose values others decide stay few, and what is known is there at once."""

from __future__ import annotations

from prometheus_client import generate_latest

from drivers.registry import KINDS
from service.roles.codes import count_from_zero
from service.telemetry.instruments import REGISTRY, Few
from tests.declared import undeclared


def test_of_an_open_set_only_so_many_values_are_told_apart() -> None:
    few = Few(3, known=("a", "b"))
    assert [few("c"), few("d"), few("b"), few("c"), few("a")] == ["c", "other", "b", "c", "a"]
    assert few(None) == "none"


def exported() -> set[str]:
    return {line.split(" ")[0] for line in generate_latest(REGISTRY).decode().splitlines()}


def test_what_can_happen_is_exported_before_it_does() -> None:
    count_from_zero()
    found = exported()
    assert {
        'hantar_messages_rejected_total{code="duplicate"}',
        'hantar_messages_rejected_total{code="other"}',
        'hantar_commands_buried_total{kept="yes",reason="type"}',
        'hantar_commands_deferred_total{reason="database"}',
        'hantar_devices_stopped_total{reason="token_refused"}',
        'hantar_campaigns_stopped_total{reason="template_disabled"}',
        'hantar_meta_webhooks_ignored_total{kind="foreign_status"}',
    } <= found
    for driver, kind in KINDS.items():
        assert kind.rules
        for rule in kind.rules:
            line = f'hantar_messages_failed_total{{driver="{driver}",reason="{rule.name}"}}'
            assert line in found


def test_every_series_made_ahead_is_one_that_was_declared() -> None:
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    ours = [(each.name, each.labels) for each in samples if each.name.startswith("hantar_")]
    assert undeclared(ours) == []
