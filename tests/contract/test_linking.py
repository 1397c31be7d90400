"""What every linking promises; one suite, run on each against its provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from drivers.linking import AlreadyLinked, Linking, NoPairing, OutOfReach
from drivers.registry import KINDS, LINKINGS
from service.core.phone import normalise
from service.store.pool import Pool
from tests.contract.linking_side import SIDES, Linked, LinkingSide
from tests.contract.witness import soon

FRESH = timedelta(seconds=60)
PHONE = "+601155510009"


def test_no_linking_escapes_the_suite() -> None:
    assert SIDES.keys() == LINKINGS.keys()
    assert all(KINDS[name].by_code for name in LINKINGS)


@pytest.fixture(params=SIDES)
async def side(request: pytest.FixtureRequest, pool: Pool) -> AsyncIterator[LinkingSide]:
    async with SIDES[request.param](pool) as opened:
        yield opened


@pytest.fixture
def linked() -> Linked:
    return Linked()


@pytest.fixture
async def linking(side: LinkingSide, linked: Linked) -> AsyncIterator[Linking]:
    made = side.make(linked)
    yield made
    await soon(made.close())


async def test_a_device_with_a_phone_has_no_code(side: LinkingSide, linking: Linking) -> None:
    with pytest.raises(AlreadyLinked):
        await linking.code(side.linked_id)


async def test_the_code_links_the_device_once(
    side: LinkingSide, linking: Linking, linked: Linked
) -> None:
    await linking.logout(side.linked_id)
    code = await linking.code(side.linked_id)
    assert code.text
    assert await side.scan(code.text, linking)
    [(device_id, phone)] = linked.phones
    assert device_id == side.linked_id
    assert normalise(phone) == phone
    with pytest.raises(AlreadyLinked):
        await linking.code(side.linked_id)
    assert not await side.scan(code.text, linking)
    assert len(linked.phones) == 1


async def test_a_code_is_good_for_a_minute_and_the_same_while_it_is_fresh(
    side: LinkingSide, linking: Linking
) -> None:
    await linking.logout(side.linked_id)
    before = datetime.now(UTC)
    first, again = [await linking.code(side.linked_id) for _ in range(2)]
    assert first == again
    assert first.expires_at >= before + FRESH


async def test_a_logout_ends_the_link_and_the_codes_from_before(
    side: LinkingSide, linking: Linking, linked: Linked
) -> None:
    await linking.logout(side.linked_id)
    old = await linking.code(side.linked_id)
    await linking.logout(side.linked_id)
    assert not await side.scan(old.text, linking)
    new = await linking.code(side.linked_id)
    assert new.text != old.text
    assert await side.scan(new.text, linking)
    assert len(linked.phones) == 1


async def test_any_process_hands_out_what_any_other_takes(
    side: LinkingSide, linking: Linking, linked: Linked
) -> None:
    other = side.make(linked)
    await linking.logout(side.linked_id)
    code = await other.code(side.linked_id)
    assert code == await linking.code(side.linked_id)
    assert await side.scan(code.text, linking)
    with pytest.raises(AlreadyLinked):
        await other.code(side.linked_id)
    await soon(other.close())


async def test_each_device_has_a_code_of_its_own(
    side: LinkingSide, linking: Linking, linked: Linked
) -> None:
    for device_id in (side.linked_id, side.linked_id + 1):
        await linking.logout(device_id)
    codes = [await linking.code(side.linked_id + place) for place in range(2)]
    assert await side.scan(codes[1].text, linking)
    assert [device_id for device_id, _ in linked.phones] == [side.linked_id + 1]
    assert await linking.code(side.linked_id) == codes[0]


async def test_a_code_to_type_links_the_device_with_that_phone_alone(
    side: LinkingSide, linking: Linking, linked: Linked
) -> None:
    await linking.logout(side.linked_id)
    try:
        code, again = [await linking.pairing_code(side.linked_id, PHONE) for _ in range(2)]
    except NoPairing:
        return  # then there is none for any device
    assert code == again
    assert code.expires_at >= datetime.now(UTC) + FRESH
    assert not await side.type(code.text, "+601155510008")
    assert await side.type(code.text, PHONE)
    assert linked.phones == [(side.linked_id, PHONE)]
    with pytest.raises(AlreadyLinked):
        await linking.pairing_code(side.linked_id, PHONE)
    assert not await side.type(code.text, PHONE)


async def test_a_provider_out_of_reach_is_said_to_be_so(
    side: LinkingSide, linking: Linking
) -> None:
    await linking.logout(side.linked_id)
    code = await linking.code(side.linked_id)
    async with side.out_of_reach():
        with pytest.raises(OutOfReach):
            await soon(linking.code(side.linked_id))
        with pytest.raises(OutOfReach):
            await soon(linking.logout(side.linked_id))
    assert await linking.code(side.linked_id) == code
