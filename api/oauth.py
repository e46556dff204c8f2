"""POST /oauth/token: an API key's id and secret for a token that ends soon (RFC 6749, 4.4)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote_plus

from flask import Response, jsonify, request
from marshmallow import Schema, fields
from marshmallow.validate import OneOf

from api.authentication import authenticate
from api.authorization import public
from api.blueprint import Blueprint
from api.services import services
from celeriac.errors import DependencyUnavailable, RateLimited, Unauthenticated
from celeriac.security.principal import Principal
from celeriac.security.secrets import Secret, SecretKind

blueprint = Blueprint("oauth", __name__, url_prefix="/oauth", description="Access tokens.")

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


class TokenRequest(Schema):
    """A form; the client may stand in HTTP Basic instead."""

    grant_type = fields.String(required=True, validate=OneOf([GRANT]))
    client_id = fields.String()
    client_secret = fields.String()
    scope = fields.String(
        metadata={"description": "Scopes with spaces between; all of the key's where none is."}
    )


class Token(Schema):
    """A token, and when it ends."""

    access_token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds."})
    scope = fields.String(required=True)


class OAuthError(Schema):
    """An error of RFC 6749, section 5.2."""

    error = fields.String(required=True)
    error_description = fields.String(required=True)


FORM = {
    "required": True,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": TokenRequest,
            "example": {
                "grant_type": GRANT,
                "client_id": "THE-ID-OF-A-KEY",
                "client_secret": "ITS-SECRET",
                "scope": "ai.agent_read",
            },
        }
    },
}


@blueprint.post("/token")
@public
@blueprint.doc(requestBody=FORM)
@blueprint.raises(RateLimited, DependencyUnavailable)
@blueprint.alt_response(401, schema=OAuthError)
@blueprint.alt_response(400, schema=OAuthError)
@blueprint.response(200, Token)
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
