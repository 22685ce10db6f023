"""What the commands do, one file each; `cli` reads the words and calls them."""
