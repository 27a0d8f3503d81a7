"""`diptych data`: check a source of pairs, clean it, translate it, or make one."""
