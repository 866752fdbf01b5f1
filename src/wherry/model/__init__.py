"""The words of the domain as pure code: no I/O, no clock, no randomness; standard library only.

Every other package imports this one, so the control plane and the agent decide alike.
"""
