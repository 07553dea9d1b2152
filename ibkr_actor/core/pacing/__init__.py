"""When a request may leave: IB's limits as rows, one queue, one scheduler."""
