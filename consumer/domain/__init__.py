"""Values and rules of routing: no await, no clock, no environment, no logging."""
