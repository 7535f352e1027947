"""From runs to scores: measures, significance, comparisons, submissions."""
