"""Weight masks: criterion, allocation, pattern and schedule."""
