"""The simulated market: what there is, when it trades, and every price it ever had."""
