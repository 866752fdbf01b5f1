"""The control plane's database: one door (`engine.Database`), one set of tables, migrations run at start."""
