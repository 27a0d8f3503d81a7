"""`diptych models list`: the models at hand."""
