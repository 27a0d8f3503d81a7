"""`diptych detector`: object detectors, checked against captions and converted."""
