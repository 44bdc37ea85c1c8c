"""Who calls: `Authorization: Bearer KEY` to a principal, and whether its key has the scope that a route asks for."""

from __future__ import annotations

from starlette.requests import Request

from mta.errors import Forbidden, Unauthenticated
from mta.model import Principal
from mta.policy.authentication import Authenticator


async def principal_of(request: Request, authenticator: Authenticator, scope: str) -> Principal:
    """Raises Unauthenticated, or Forbidden with the scope that is missing."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated(
            "An API key is needed: send it as the header Authorization: Bearer KEY.", code="api_key_missing"
        )
    principal = await authenticator.authenticate(secret.strip())
    if not principal.may(scope):
        raise Forbidden(
            f"This key may not do that: it lacks the scope {scope}.", code="scope_missing", details={"scope": scope}
        )
    return principal
