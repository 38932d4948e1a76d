"""The IPython extension: magics, job cards, completion, panels."""
