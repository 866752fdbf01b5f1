"""The control plane: resource API, identity provider, vault, credential broker, dispatch of work, audit.

Never imports the engine or a store: file bytes go from the agent to the target, not through here.
"""
