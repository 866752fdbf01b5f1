"""The agent's admin shell `xdmsh` will live here: its menus, on the console and over SSH."""
