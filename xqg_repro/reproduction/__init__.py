"""Named conditions, run and judged: benchmarks, claims, reports, pages, regressions."""
