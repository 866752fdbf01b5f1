"""The agent's admin shell `xdmsh`: menus of numbers, the same on the console, over SSH and in tests."""
