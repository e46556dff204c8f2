"""Sign-in for people: a cookie stands for the credential that they typed.

The credential lies in Redis, encrypted under a key that only the cookie has, and is authenticated
anew with every request: one that is revoked or has expired ends its sessions at once. A form is
accepted only with a token that is derived from the cookie, so that no other site can send it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flask import Response, request
from redis.exceptions import RedisError

from api.services import services
from celeriac.errors import MISSING, BrokerUnavailable, Forbidden, Unauthenticated

CONSOLE = "console"
"""The blueprint whose requests are those of a session."""
COOKIE = "celeriac_session"
FIELD = "form_token"
"""Name of the field that a form's token is in."""
KEEP = 12 * 3600
"""Seconds that a session is kept after its last request."""
NONCE = 12
MAX_CREDENTIAL = 8192


def sign_in(response: Response, credential: str) -> None:
    """Begin a session of a credential that is valid."""
    session = secrets.token_urlsafe(32)
    nonce = os.urandom(NONCE)
    sealed = nonce + AESGCM(_derived(session, "seal")).encrypt(nonce, credential.encode(), None)
    _redis("set", _name(session), sealed, ex=KEEP)
    response.set_cookie(
        COOKIE,
        session,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure or request.headers.get("X-Forwarded-Proto") == "https",
    )


def sign_out(response: Response) -> None:
    """End the session."""
    _redis("delete", _name(request.cookies.get(COOKIE, "")))
    response.delete_cookie(COOKIE)


def presented() -> str:
    """The credential of the session.

    Raises:
        Unauthenticated: there is none, or it has ended.
    """
    session = request.cookies.get(COOKIE)
    if not session:
        raise Unauthenticated("Sign in.", MISSING)
    sealed = _redis("getex", _name(session), ex=KEEP)
    if not isinstance(sealed, bytes):
        raise Unauthenticated("The session has ended; sign in again.", MISSING)
    try:
        opened = AESGCM(_derived(session, "seal")).decrypt(sealed[:NONCE], sealed[NONCE:], None)
    except InvalidTag:
        raise Unauthenticated("The session has ended; sign in again.", MISSING) from None
    return opened.decode()


def form_token() -> str:
    """What a form of this session has to bring along."""
    return _derived(request.cookies.get(COOKIE, ""), "form").hex()


def check_form() -> None:
    """Raise Forbidden where a form was not made for this session."""
    if not hmac.compare_digest(request.form.get(FIELD, ""), form_token()):
        raise Forbidden("The form is out of date; go back, reload the page and send it again.")


def _derived(session: str, purpose: str) -> bytes:
    return hmac.digest(session.encode(), purpose.encode(), "sha256")


def _name(session: str) -> str:
    return f"celeriac:session:{hashlib.sha256(session.encode()).hexdigest()}"


def _redis(command: str, *arguments: object, **options: object) -> object:
    try:
        return getattr(services().runtime.redis, command)(*arguments, **options)
    except RedisError as error:
        raise BrokerUnavailable from error
