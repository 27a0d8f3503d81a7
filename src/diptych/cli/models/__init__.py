"""`diptych models`: the models at hand."""
