"""Typed clients of the resource API and of the agent protocol, used by the command line and by the agent."""
