"""Job histories: the journal, DataFrames, analyses, plots, sync, the image archive and Delta Lake."""
