"""The patches of the known bugs still apply to the code as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.processes import ROOT
from tests.fault import cases
from tests.fault.case import CASES
from tests.fault.mutants import MUTANTS, PATCHES, apply

ALL = [cases]


def test_each_patch_is_one_of_the_twelve() -> None:
    assert len(MUTANTS) == 12
    assert {path.stem for path in PATCHES.iterdir()} == {mutant.name for mutant in MUTANTS}
    assert {mutant.case for mutant in MUTANTS} <= CASES.keys()


@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_it_applies(name: str) -> None:
    """Else: change the code, make the bug anew, and replace the patch by `git diff -U2`."""
    patch: Path = PATCHES / f"{name}.patch"
    assert apply(patch, ROOT, only_check=True) == ""
