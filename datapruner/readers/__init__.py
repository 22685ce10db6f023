"""One file for each kind of data that `datapruner.data.open_data` can open."""
