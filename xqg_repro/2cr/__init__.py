"""Two-click reproduction: one module a benchmark, each a shell over :mod:`xqg_repro.cli.two_click`."""
