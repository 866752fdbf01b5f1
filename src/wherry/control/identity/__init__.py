"""The identity provider: discovery, device codes, tokens, and the pages where people sign in and consent."""
