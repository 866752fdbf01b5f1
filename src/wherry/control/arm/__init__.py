"""The resource API: routes by provider, which parse, call a service and serialise; rules are in `control.services`."""
