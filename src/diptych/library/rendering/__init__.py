"""What is drawn of a library: thumbnails, contact sheets, previews in a terminal."""
