"""What everything else stands on: errors, files and stage folders, settings, languages, tables, plots."""
