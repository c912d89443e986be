"""The settings that databases, roles and environments of the wild have: each must make no difference."""
