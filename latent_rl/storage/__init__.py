"""What is on the disk is whole, or not there."""
