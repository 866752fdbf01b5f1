"""The resource types that are served: `registry.TYPES` names them all, a module a provider describes them."""
