"""Recipients as HTTP clients write them: judged more strictly than SMTP paths, since a person may have typed them.

Whether the domain exists is for delivery to find out: DNS that fails for a minute must not refuse a message.
"""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email

from mta.errors import InvalidInput
from mta.protocol import simulator
from mta.protocol.address import Address, AddressError, parse_address


def judge(text: str, *, field: str) -> Address:
    """The address of `local@domain`, without a display name; `field` names the input. Raises InvalidInput."""
    try:
        if text.lower().endswith(f"@{simulator.DOMAIN}"):
            return parse_address(text)
        # test_environment: names under .test are for tests, and tests of apps are what a development server is for.
        found = validate_email(
            text, check_deliverability=False, test_environment=True, allow_quoted_local=True, allow_smtputf8=True
        )
        return parse_address(f"{found.local_part}@{found.ascii_domain}")
    except (EmailNotValidError, AddressError) as error:
        raise InvalidInput(
            f"{text[:100]!r} is not an email address: {error}", code="invalid_recipient", field=field
        ) from error
