"""What is open at IB, what it says, and the records that come of it."""
