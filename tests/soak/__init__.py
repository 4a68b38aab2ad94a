"""Minutes of everything going wrong at once, then a comparison of every document: `python -m tests.soak`."""
