"""Job histories: journal, DataFrames, analyses, plots, sync, image archive and Delta Lake."""
