"""Named conditions, run and judged: benchmarks, claims, reports, pages and regressions."""
