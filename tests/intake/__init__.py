"""What providers send, from the body of a POST to the rows of an inbox."""
