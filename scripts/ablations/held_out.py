"""Runs of xor-mini's held-out questions, from the indexes that ``make reproduce`` wrote to ``out/``."""

from __future__ import annotations

from pathlib import Path

from xqg_repro import cli

TOPICS = "xor-mini/held-out"


def search(condition: str) -> Path:
    """Search for the held-out questions with the index of a condition; return the run."""
    run, index = Path("out", "held-out", f"run.xor-mini.{condition}.held-out.txt"), f"out/indexes/xor-mini.{condition}"
    cli.main(["search", "--index", index, "--topics", TOPICS, "--tag", condition, "--output", str(run)])
    return run
