"""What the batch contract's handlers share."""

from __future__ import annotations

from api.services import services
from api.tenancy import current_tenant
from celeriac.voice import VoiceLibrary

PREFIX = "/v1/voiceai/knowledge-base"


def library() -> VoiceLibrary:
    """The documents of the one who asks."""
    return VoiceLibrary(services().runtime, services().dispatcher, current_tenant())
