"""`diptych generator`: draw small images from words, and measure what draws them."""
