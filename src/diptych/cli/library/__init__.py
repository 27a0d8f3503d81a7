"""`diptych library`: look after a library."""
