"""Our order in other people's trainers; none of them is needed to import anything here."""
