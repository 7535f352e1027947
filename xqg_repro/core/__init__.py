"""What all other folders use: errors, files, stage folders, settings, languages, tables and plots."""
