"""The data plane of vaults, as `azure-keyvault-secrets` speaks to it."""
