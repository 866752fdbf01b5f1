"""Settings of the agent's machine: a small service of root with fixed verbs, and what speaks to it.

The agent itself has no right to change its machine.  `service` has, and does nothing but what `verbs` names.
"""
