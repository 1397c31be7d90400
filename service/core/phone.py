"""Malaysian phone numbers: one spelling, E.164, for everything that people write."""

from __future__ import annotations

import re

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberFormat, PhoneNumberType
from phonenumbers.phonemetadata import PhoneNumberDesc

REGION = "MY"

_REACHABLE_TYPES = frozenset(
    {
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.VOIP,
    }
)

# The library alone is too kind: it reads letters as keypad digits, drops extensions and control
# characters, and takes digits of any script. 250 characters is where it stops reading itself.
_ALLOWED = re.compile(r"(?:\+|[0-9(])[0-9 \-.()]{0,249}")
_WITHOUT_SEPARATORS = {ord(separator): None for separator in " -.()"}


def normalise(raw: str) -> str | None:
    """The number in E.164, or None when it is not a Malaysian mobile, fixed or VoIP number."""
    if _ALLOWED.fullmatch(raw) is None:
        return None
    return from_common_spelling(raw) or from_any_spelling(raw)


def from_any_spelling(raw: str) -> str | None:
    """What `phonenumbers`, the authority, makes of the text; tens of µs a number."""
    try:
        number = phonenumbers.parse(raw, REGION)
    except phonenumbers.NumberParseException:
        return None
    if (
        number.country_code != _METADATA.country_code
        or not phonenumbers.is_valid_number(number)
        or phonenumbers.number_type(number) not in _REACHABLE_TYPES
    ):
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def from_common_spelling(raw: str) -> str | None:
    """The same answer for `01…`, `60…`, `+60…` and `0060…` in about 2 µs; None is no verdict."""
    match = _COMMON.fullmatch(raw.translate(_WITHOUT_SEPARATORS))
    return f"+{_METADATA.country_code}{match[1]}" if match else None


def _load_metadata() -> PhoneMetadata:
    metadata = PhoneMetadata.metadata_for_region(REGION)
    if metadata is None:
        raise RuntimeError(f"phonenumbers knows no region {REGION}")
    return metadata


def _whole_number(*kinds: PhoneNumberDesc | None) -> str:
    """A pattern that matches the rest of the text as a national number of one of the kinds."""
    shapes = []
    for kind in kinds:
        if kind is not None and kind.national_number_pattern is not None:
            lengths = "|".join(rf"\d{{{digits}}}" for digits in kind.possible_length)
            shapes.append(rf"(?=(?:{lengths})\Z)(?:{kind.national_number_pattern})\Z")
    return "|".join(shapes) or "(?!)"


def _compile_common(metadata: PhoneMetadata) -> re.Pattern[str]:
    code, abroad = metadata.country_code, metadata.international_prefix
    # The library lets these kinds win over mobile and fixed line: leave such numbers to it.
    senior = _whole_number(
        metadata.premium_rate,
        metadata.toll_free,
        metadata.shared_cost,
        metadata.personal_number,
        metadata.pager,
        metadata.uan,
        metadata.voicemail,
    )
    reachable = _whole_number(metadata.mobile, metadata.fixed_line, metadata.voip)
    return re.compile(
        rf"(?:(?:\+|{abroad})?{code})?{metadata.national_prefix}?"
        rf"((?={_whole_number(metadata.general_desc)})(?!{senior})(?:{reachable}))",
        re.ASCII,
    )


_METADATA = _load_metadata()
_COMMON = _compile_common(_METADATA)
