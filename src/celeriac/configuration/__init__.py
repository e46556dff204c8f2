"""The configuration file: tenants, entity types, sources, schedules, models."""

from celeriac.configuration.declarations import Canary, Configuration, EntityType, Tenant
from celeriac.configuration.loading import load_configuration

__all__ = ["Canary", "Configuration", "EntityType", "Tenant", "load_configuration"]
