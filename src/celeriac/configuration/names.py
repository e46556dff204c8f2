"""How things in a configuration file may be called."""

from __future__ import annotations

import re

from marshmallow.validate import Regexp

TENANT_NAME = Regexp(
    re.compile(r"[a-z][a-z0-9]{2,15}\Z"),
    error="a tenant's name has 3 to 16 lower-case letters and digits and begins with a letter",
)
