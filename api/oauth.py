"""POST /oauth/token: an API key's id and secret for a token that ends soon (RFC 6749, 4.4)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote_plus

from flask import Blueprint, Response, jsonify, request

from api.authentication import authenticate
from api.authorization import public
from api.services import services
from celeriac.errors import Unauthenticated
from celeriac.security.principal import Principal
from celeriac.security.secrets import Secret, SecretKind

blueprint = Blueprint("oauth", __name__, url_prefix="/oauth")

GRANT = "client_credentials"


class Refusal(Exception):
    """An error of RFC 6749, section 5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Client:
    """What a client identifies itself with."""

    id: str
    secret: str = field(repr=False)


@blueprint.post("/token")
@public
def token() -> Response:
    """Give a token for an API key."""
    _require_grant()
    principal = _authenticated(_client())
    scopes = _scopes(principal)
    issued = services().runtime.catalog.api_keys.issue_token(
        principal.key_id or "",
        scopes,
        services().runtime.settings.configuration.security.token_lifetime,
    )
    if issued is None:
        raise _invalid_client()
    return _unstored(
        jsonify(
            {
                "access_token": issued.secret.reveal(),
                "token_type": "Bearer",
                "expires_in": issued.expires_in,
                "scope": " ".join(sorted(scopes)),
            }
        )
    )


def _require_grant() -> None:
    grant = _parameter("grant_type")
    if not grant:
        raise Refusal("invalid_request", f"Send a form with grant_type={GRANT}.")
    if grant != GRANT:
        raise Refusal("unsupported_grant_type", f"The only grant_type is {GRANT}.")


def _client() -> Client:
    """From the Authorization header or from the form; not from both."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    basic = scheme.lower() == "basic"
    id, secret = _parameter("client_id"), _parameter("client_secret")
    if basic and secret:
        raise Refusal("invalid_request", "Use HTTP Basic or client_secret in the form, not both.")
    if basic:
        return _from_basic(credentials)
    if not id or not secret:
        raise _invalid_client()
    return Client(id, secret)


def _from_basic(credentials: str) -> Client:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        raise _invalid_client() from None
    id, _, secret = decoded.partition(":")
    return Client(unquote_plus(id), unquote_plus(secret))


def _authenticated(client: Client) -> Principal:
    presented = Secret(SecretKind.API_KEY, client.id, client.secret).reveal()
    try:
        principal = authenticate(presented)
    except Unauthenticated:
        raise _invalid_client() from None
    if principal.key_id is None:
        raise _invalid_client()
    return principal


def _scopes(principal: Principal) -> frozenset[str]:
    """Those that are asked for; all of the key's where none is."""
    wanted = frozenset(_parameter("scope").split())
    beyond = wanted - principal.scopes
    if beyond:
        raise Refusal("invalid_scope", "The client has not got every scope that it asks for.")
    return wanted or principal.scopes


def _parameter(name: str) -> str:
    values = request.form.getlist(name)
    if len(values) > 1:
        raise Refusal("invalid_request", f"{name} is given more than once.")
    return values[0] if values else ""


def _invalid_client() -> Refusal:
    return Refusal("invalid_client", "The client_id or the client_secret is not valid.", 401)


@blueprint.errorhandler(Refusal)
def _refused(refusal: Refusal) -> Response:
    response = jsonify({"error": refusal.code, "error_description": str(refusal)})
    response.status_code = refusal.status
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="celeriac"'
    return _unstored(response)


def _unstored(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    return response
